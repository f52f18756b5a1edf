package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/errs"
)

const (
	// maxStreams bounds the clients that watch.
	maxStreams = 1024
	// maxBehind is how many steps may wait for a client that reads slowly.
	maxBehind = 256
	// writeWithin is how long a client may take to read what waits for it once it
	// is to be dropped.
	writeWithin = 5 * time.Second
)

var (
	errStreams = errs.New(errs.Unavailable, errs.ReasonOverloaded, "as many clients watch as may; retry later").WithRetry(5 * time.Second)
	errSlow    = errs.New(errs.ResourceExhausted, errs.ReasonOverloaded,
		"you read too slowly; watch again after the last position that you have handled")
	errStopping = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this server is stopping; watch again after the last position that you have handled").WithRetry(time.Second)
)

type eventStream = grpc.ServerStreamingClient[frontdoorv1.WatchEventsResponse]

// serveEvents streams events until the client goes, reads too slowly, or this
// server stops.
func (g *Gateway) serveEvents(w http.ResponseWriter, r *http.Request, header http.Header) {
	select {
	case g.streams <- struct{}{}:
		defer func() { <-g.streams }()
	default:
		writeError(r.Context(), w, errStreams)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	steps, first, err := g.watch(ctx, cancel, r, header)
	if err != nil {
		writeError(r.Context(), w, err)
		return
	}
	out := newSteps(w, header.Get("Accept"))
	if out.step(first) != nil {
		return
	}
	for {
		select {
		case step := <-steps:
			if out.step(step) != nil {
				return // the client has gone
			}
		case <-g.deps.Stopping:
			cancel(errStopping)
			out.end(r.Context(), errStopping)
			return
		case <-ctx.Done():
			if cause := context.Cause(ctx); r.Context().Err() == nil && !errors.Is(cause, io.EOF) {
				out.end(r.Context(), cause)
			}
			return
		}
	}
}

// watch begins the stream and answers its first step: what is wrong with a
// request is known with it. Later steps come on the channel; the stream's end, and
// a channel that nobody empties, cancel ctx.
func (g *Gateway) watch(ctx context.Context, cancel context.CancelCauseFunc, r *http.Request, header http.Header,
) (<-chan *frontdoorv1.WatchEventsResponse, *frontdoorv1.WatchEventsResponse, error) {
	req := &frontdoorv1.WatchEventsRequest{}
	if err := (&strictQuery{}).Parse(req, r.URL.Query(), utilities.NewDoubleArray(nil)); err != nil {
		return nil, nil, malformed(err.Error())
	}
	if last := header.Get("Last-Event-ID"); last != "" {
		req.After = last
	}
	stream, err := g.events.WatchEvents(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	steps := make(chan *frontdoorv1.WatchEventsResponse, maxBehind)
	go receive(stream, steps, cancel)
	return steps, first, nil
}

func receive(stream eventStream, steps chan<- *frontdoorv1.WatchEventsResponse, cancel context.CancelCauseFunc) {
	for {
		step, err := stream.Recv()
		if err != nil {
			cancel(err)
			return
		}
		select {
		case steps <- step:
		default:
			cancel(errSlow)
			return
		}
	}
}

// steps writes a stream in one of its two forms.
type steps struct {
	w      http.ResponseWriter
	flush  *http.ResponseController
	events bool // Server-Sent Events; else a JSON object a line
}

func newSteps(w http.ResponseWriter, accept string) *steps {
	s := &steps{w: w, flush: http.NewResponseController(w), events: strings.Contains(accept, "text/event-stream")}
	kind := "application/x-ndjson"
	if s.events {
		kind = "text/event-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Accel-Buffering", "no") // or nginx keeps events to itself
	return s
}

// step writes one step and sends it on its way.
func (s *steps) step(m *frontdoorv1.WatchEventsResponse) error {
	text, err := s.text(m)
	if err != nil {
		return err
	}
	if _, err := s.w.Write(text); err != nil { // #nosec G705 -- JSON, and sent as nothing else
		return err
	}
	return s.flush.Flush()
}

func (s *steps) text(m *frontdoorv1.WatchEventsResponse) ([]byte, error) {
	if !s.events {
		data, err := write.Marshal(m)
		return fmt.Appendf(nil, "{\"result\":%s}\n", data), err
	}
	var text bytes.Buffer
	text.WriteString(":\n") // a comment: it keeps the connection alive where there are no events
	for i, e := range m.GetEvents() {
		data, err := write.Marshal(e)
		if err != nil {
			return nil, err
		}
		// The position is the last event's alone: who goes on from there has had all
		// of the step.
		if i == len(m.GetEvents())-1 {
			fmt.Fprintf(&text, "id: %s\n", m.GetPosition())
		}
		fmt.Fprintf(&text, "data: %s\n\n", data)
	}
	if len(m.GetEvents()) == 0 {
		fmt.Fprintf(&text, "id: %s\n\n", m.GetPosition())
	}
	return text.Bytes(), nil
}

// end tells why there is no more, to a client that reads on.
func (s *steps) end(ctx context.Context, err error) {
	_ = s.flush.SetWriteDeadline(time.Now().Add(writeWithin))
	data, _ := json.Marshal(describe(ctx, public(err))) // texts alone
	format := "{\"error\":%s}\n"
	if s.events {
		format = "event: error\ndata: %s\n\n"
	}
	fmt.Fprintf(s.w, format, data)
	_ = s.flush.Flush()
}
