package wrk

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const good = `wrk-report {"Requests":2000,"Bytes":2600000,"Micros":1000000,"P50":420,"P99":3100,"Connect":0,"Read":0,"Write":0,"Status":0,"Timeout":0}`
	r, err := parse([]byte("Running 1s test\n"+good+"\n"), Load{MinBytes: 1024})
	if want := (Result{Rate: 2000, P50: 420 * time.Microsecond, P99: 3100 * time.Microsecond}); err != nil || r != want {
		t.Errorf("%+v %v, want %+v", r, err, want)
	}
	for name, out := range map[string]string{
		"no report":     "Running 1s test\n",
		"broken":        "wrk-report {",
		"no request":    strings.Replace(good, "2000,", "0,", 1),
		"short answers": strings.Replace(good, "2600000", "2000000", 1),
		"connect":       strings.Replace(good, `"Connect":0`, `"Connect":1`, 1),
		"read":          strings.Replace(good, `"Read":0`, `"Read":1`, 1),
		"write":         strings.Replace(good, `"Write":0`, `"Write":1`, 1),
		"status":        strings.Replace(good, `"Status":0`, `"Status":1`, 1),
		"timeout":       strings.Replace(good, `"Timeout":0`, `"Timeout":1`, 1),
	} {
		if _, err := parse([]byte(out), Load{MinBytes: 1024}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip(err)
	}
	runner, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, status := range map[string]int{"good": http.StatusOK, "bad": http.StatusBadGateway} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Host != "name.test" || !r.Close { // what Load says
					http.Error(w, "wrong request", http.StatusBadRequest)
					return
				}
				w.WriteHeader(status)
				w.Write(make([]byte, 1024)) //nolint:errcheck // wrk tells
			}))
			defer server.Close()
			r, err := runner.Run(t.Context(), Load{
				URL: server.URL, Host: "name.test", Connections: 2, Close: true, Duration: time.Second, MinBytes: 1024,
			})
			if status == http.StatusOK && (err != nil || r.Rate <= 0 || r.P50 <= 0 || r.P99 < r.P50) {
				t.Errorf("%+v %v", r, err)
			}
			if status != http.StatusOK && err == nil {
				t.Error("failed requests pass")
			}
		})
	}
}
