package debugport

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestMetricsAndProfilesAreServedUntilTheEnd(t *testing.T) {
	t.Parallel()
	p, err := Listen(t.Context(), "127.0.0.1:0", NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for path, want := range map[string]string{"/metrics": "go_goroutines", "/debug/pprof/": "goroutine", "/metrics?": "process_open_fds"} {
		res, err := http.Get("http://" + p.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s without %q (%v)", path, res.Status, want, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatCannotBeHadIsNamed(t *testing.T) {
	t.Parallel()
	if _, err := Listen(t.Context(), "nonsense", NewMetrics()); err == nil || !strings.Contains(err.Error(), "--debug") {
		t.Errorf("got %v", err)
	}
	p, err := Listen(t.Context(), "", NewMetrics())
	if err != nil || p.Addr() != nil {
		t.Errorf("%v, %v", p, err)
	}
}
