package frontdoor_test

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// A body whose length is known may still come in pieces, and each piece is for the
// visitor as soon as it is there; so is the head before all of them.
func TestABodyOfKnownLengthArrivesAsItIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	seen := make(chan struct{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		flush := http.NewResponseController(rw).Flush
		rw.Header().Set("Content-Length", "9")
		_ = flush()
		for range 3 {
			select {
			case <-seen:
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(rw, "abc")
			_ = flush()
		}
	}))
	client := w.client()
	client.Timeout = 30 * time.Second
	res, err := client.Get("http://" + app + "/")
	fatal(t, err)
	defer res.Body.Close()
	piece := make([]byte, 3)
	for range 3 {
		seen <- struct{}{}
		if _, err := io.ReadFull(res.Body, piece); err != nil || string(piece) != "abc" {
			t.Fatalf("%q, %v", piece, err)
		}
	}
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("behind it: %q, %v", rest, err)
	}
}
