package sample_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dialback/dialback/cmd/standalone/internal/sample"
)

func TestThePageShowsTheRequest(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string][]string{
		"text/html,*/*": {"<!doctype html>", "X-Odd", "&lt;script&gt;", strings.Repeat("ab", 16), "192.0.2.1"},
		"*/*":           {"GET /path?q=1 HTTP/1.1", "X-Odd: <script>", "trace " + strings.Repeat("ab", 16)},
	} {
		r := httptest.NewRequest(http.MethodGet, "/path?q=1", nil)
		r.Header.Set("Accept", accept)
		r.Header.Set("X-Odd", "<script>")
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
		r.Header.Set("Traceparent", "00-"+strings.Repeat("ab", 16)+"-"+strings.Repeat("cd", 8)+"-01")
		w := httptest.NewRecorder()
		sample.Handler().ServeHTTP(w, r)
		for _, text := range want {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s: no %q in\n%s", accept, text, w.Body)
			}
		}
	}
}
