package errpage_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/errpage"
)

var update = flag.Bool("update", false, "write the golden files")

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func write(method, accept string, p errpage.Problem) *http.Response {
	r := httptest.NewRequest(method, "http://app.example.com/", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	errpage.Write(w, r, p)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(b.String(), "\r\n\r\n")
	return text
}

func problem(kind errs.Kind, reason errs.Reason) errpage.Problem {
	return errpage.Problem{
		Err:     errs.New(kind, reason, "what happened").WithRetry(1500 * time.Millisecond),
		TraceID: "0af7651916cd43dd8448eb211c80319c", Host: "app.example.com",
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for accept, name := range map[string]string{browser: "offline.html", "application/json": "offline.json", "*/*": "offline.txt"} {
		got := body(t, write(http.MethodGet, accept, problem(errs.Unavailable, errs.ReasonAgentOffline)))
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from its golden file; look at it, then run with -update", name)
		}
	}
}

func TestStatusOfEachCode(t *testing.T) {
	t.Parallel()
	for reason, status := range map[errs.Reason]int{
		errs.ReasonEndpointNotFound: 404, errs.ReasonAgentOffline: 503, errs.ReasonDialbackTimeout: 504,
		errs.ReasonUpstreamRefused: 502, errs.ReasonUpstreamTimeout: 504, errs.ReasonUpstreamBadReply: 502,
		errs.ReasonPolicyDenied: 403, errs.ReasonAuthRequired: 401, errs.ReasonRateLimited: 429,
		errs.ReasonOverloaded: 503, errs.ReasonInvalidArgument: 400, errs.ReasonOptionUnsupported: 503,
		errs.ReasonInternal: 500, "SOMETHING_NEW": 500,
	} {
		res := write(http.MethodGet, browser, problem(errs.Internal, reason))
		if res.StatusCode != status || errpage.Status(reason) != status {
			t.Errorf("%s: %d, want %d", reason, res.StatusCode, status)
		}
		if res.Header.Get(errpage.Header) != string(reason) || res.Header.Get("Retry-After") != "2" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", reason, res.Header)
		}
		page := body(t, res)
		if !strings.Contains(page, string(reason)) || !strings.Contains(page, "0af7651916cd43dd8448eb211c80319c") {
			t.Errorf("%s: the page lacks code or trace", reason)
		}
		if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "<script") || strings.Contains(page, "<img") {
			t.Errorf("%s: the page needs something from elsewhere", reason)
		}
	}
}

// Everything that somebody else has written is text, never markup; and what is
// private stays private.
func TestWhatIsEchoedIsEscaped(t *testing.T) {
	t.Parallel()
	evil := `"><script>alert(1)</script><img src=x onerror=1>`
	p := errpage.Problem{
		Err: errs.New(errs.NotFound, errs.ReasonEndpointNotFound, evil).
			WithCause(errs.New(errs.Internal, errs.ReasonInternal, "dial tcp 10.1.2.3:80")).WithMetadata("address", "10.1.2.3"),
		Host: evil, TraceID: evil,
	}
	page := body(t, write(http.MethodGet, browser, p))
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") {
		t.Error("markup has come through")
	}
	for _, accept := range []string{browser, "application/json", "*/*"} {
		if text := body(t, write(http.MethodGet, accept, p)); strings.Contains(text, "10.1.2.3") {
			t.Errorf("a private address: %s", text)
		}
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(body(t, write(http.MethodGet, "application/json", p))), &answer); err != nil || answer["message"] != evil {
		t.Errorf("JSON: %v, %v", answer, err)
	}
}

func TestFormsAreChosenByAccept(t *testing.T) {
	t.Parallel()
	for accept, kind := range map[string]string{
		browser: "text/html", "": "text/plain", "*/*": "text/plain", "application/json": "application/json",
		"application/problem+json, */*": "application/json", "image/png": "text/plain",
	} {
		if got := write(http.MethodGet, accept, problem(errs.Internal, errs.ReasonInternal)).Header.Get("Content-Type"); !strings.HasPrefix(got, kind) {
			t.Errorf("%q: %s, want %s", accept, got, kind)
		}
	}
	res := write(http.MethodHead, browser, problem(errs.Internal, errs.ReasonInternal))
	if res.ContentLength == 0 || res.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %v", res.Header)
	}
}
