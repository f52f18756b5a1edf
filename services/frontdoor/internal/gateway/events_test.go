package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/errs"
)

// open begins a stream and returns its lines.
func (r *rig) open(path string, header http.Header) (*bufio.Reader, func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return bufio.NewReader(res.Body), func() {
		cancel()
		_ = res.Body.Close()
		http.DefaultClient.CloseIdleConnections()
	}
}

func lines(t *testing.T, from *bufio.Reader, n int) string {
	t.Helper()
	var text strings.Builder
	for range n {
		one, err := from.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
		text.WriteString(one)
	}
	return text.String()
}

// twoEvents is one step with two events, after a first one without.
func twoEvents(req *frontdoorv1.WatchEventsRequest, stream frontdoorv1.EventService_WatchEventsServer) error {
	first := req.GetAfter()
	if first == "" {
		first = "1-1"
	}
	_ = stream.Send(&frontdoorv1.WatchEventsResponse{Position: first})
	_ = stream.Send(&frontdoorv1.WatchEventsResponse{Position: "1-5", Events: []*auditv1.Event{{Name: "a"}, {Name: "b"}}})
	<-stream.Context().Done()
	return stream.Context().Err()
}

func TestEventsAreALineEach(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.watch = twoEvents
	stream, end := r.open("/v1/events?after=1-3", nil)
	defer end()
	text := strings.ReplaceAll(lines(t, stream, 2), " ", "")
	if !strings.HasPrefix(text, `{"result":{"events":[],"position":"1-3"}}`) || !strings.Contains(text, `"name":"b"`) {
		t.Errorf("got %s", text)
	}
}

func TestServerSentEventsCanBeResumed(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.watch = twoEvents
	sse := http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {"1-4"}}
	stream, end := r.open("/v1/events?after=1-3", sse)
	defer end()
	if first := lines(t, stream, 3); first != ":\nid: 1-4\n\n" {
		t.Errorf("first: %q", first)
	}
	// Only the last event of a step has its position: else who goes on from the
	// first one would miss the second.
	step := lines(t, stream, 6)
	first, second, _ := strings.Cut(step, "\n\n")
	if strings.Contains(first, "id:") || !strings.Contains(second, "id: 1-5\n") || !strings.Contains(second, `"b"`) {
		t.Errorf("step: %q", step)
	}
}

func TestAStreamThatCannotBeginIsAPlainError(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.watch = func(*frontdoorv1.WatchEventsRequest, frontdoorv1.EventService_WatchEventsServer) error {
		return errs.New(errs.NotFound, errs.ReasonCompacted, "too old")
	}
	res, body := r.do(http.MethodGet, "/v1/events?after=0", "", nil)
	if res.StatusCode != http.StatusNotFound || !strings.Contains(string(body), "COMPACTED") {
		t.Errorf("%s %s", res.Status, body)
	}
}

func TestAStreamEndsWithItsReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		accept string
		want   string
		stop   bool
	}{
		"lines, a fault of the service":  {"", `{"error":{"code":"UNAVAILABLE"`, false},
		"events, a fault of the service": {"text/event-stream", "event: error\ndata: {\"code\":\"UNAVAILABLE\"", false},
		"lines, a stop":                  {"", "this server is stopping", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil)
			fail := make(chan struct{})
			r.watch = func(_ *frontdoorv1.WatchEventsRequest, stream frontdoorv1.EventService_WatchEventsServer) error {
				_ = stream.Send(&frontdoorv1.WatchEventsResponse{Position: "1-1"})
				select {
				case <-fail:
					return errs.New(errs.Unavailable, errs.ReasonUnavailable, "gone")
				case <-stream.Context().Done():
					return stream.Context().Err()
				}
			}
			stream, end := r.open("/v1/events", http.Header{"Accept": {c.accept}})
			defer end()
			lines(t, stream, 1)
			if c.stop {
				close(r.stop)
			} else {
				close(fail)
			}
			rest, err := io.ReadAll(stream)
			if err != nil || !strings.Contains(string(rest), c.want) {
				t.Errorf("%v, %q", err, rest)
			}
		})
	}
}

// A client that reads nothing is dropped, and costs a bounded buffer until then.
func TestASlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ended := make(chan error, 1)
	r.watch = func(_ *frontdoorv1.WatchEventsRequest, stream frontdoorv1.EventService_WatchEventsServer) error {
		large := &auditv1.Event{Name: strings.Repeat("x", 64<<10)}
		for i := 0; ; i++ {
			err := stream.Send(&frontdoorv1.WatchEventsResponse{Position: fmt.Sprintf("1-%d", i), Events: []*auditv1.Event{large}})
			if err != nil {
				ended <- stream.Context().Err()
				return err
			}
		}
	}
	_, end := r.open("/v1/events", nil)
	defer end()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the stream has ended with %v", err)
	}
}
