package frontdoor_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// upstream is a local service.
func upstream(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	res, err := c.Get(url)
	fatal(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	fatal(t, err)
	return res, string(body)
}

func TestARequestReachesItsService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel("app."+domain, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "hello "+r.Host+r.URL.Path)
	}))
	for _, c := range []struct {
		name, url string
		client    *http.Client
		major     int
	}{
		{"clear", "http://app." + domain + "/a", w.client(), 1},
		{"tls", "https://app." + domain + "/a", w.client(), 1},
		{"h2", "https://app." + domain + "/a", w.client("h2"), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := get(t, c.client, c.url)
			if res.StatusCode != http.StatusOK || body != "hello app."+domain+"/a" || res.ProtoMajor != c.major {
				t.Errorf("%s %s: %q", res.Proto, res.Status, body)
			}
		})
	}
}
