package forward

import (
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent/spans"
	"github.com/dialback/dialback/internal/proxyconn"
)

// settleAfter is how long behind the first byte of a reply a request's span
// waits for the request's end. The agent does not read HTTP: it hears of the end
// when the next request comes or the connection closes, which may take minutes.
const settleAfter = time.Second

// requests makes a span of each HTTP request of an exchange. A request that
// lasts, or whose end is not heard of, has a span that ends with the first byte
// of the reply; a second one, linked to it, tells bytes and outcome when they
// are known.
type requests struct {
	spans    *spans.Recorder
	dialback spans.Span

	mu      sync.Mutex
	number  uint64
	req     *proxyv1.Req
	span    spans.Span
	began   time.Time
	settled bool
	timer   *time.Timer
}

func newRequests(recorder *spans.Recorder, dialback spans.Span) *requests {
	return &requests{spans: recorder, dialback: dialback}
}

// RequestBegin starts the span under the id that stands in the request's own
// traceparent already. A later request of the connection has no dial-back of its
// own; its span links to the one that made the connection.
func (r *requests) RequestBegin(req *proxyv1.Req) {
	r.mu.Lock()
	defer r.mu.Unlock()
	link, connection := spans.Span{}, "new"
	if req.GetNumber() > 1 {
		link, connection = r.dialback, "reused"
	}
	r.number++
	r.req, r.began, r.settled = req, time.Now(), false
	r.span = r.spans.StartAs(req.GetSpanId(), "private.request", trace.SpanKindClient, req.GetTrace(), link)
	r.span.String("private.connection", connection)
}

// ReplyBegin notes the time to the first byte.
func (r *requests) ReplyBegin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.span.Duration("private.first_byte_ms", time.Since(r.began))
	if !r.span.Recording() {
		return
	}
	number, at := r.number, time.Now()
	r.timer = time.AfterFunc(settleAfter, func() { r.settle(number, at) })
}

// settle ends the span of a request whose end has not been heard of.
func (r *requests) settle(number uint64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.number == number && !r.settled {
		r.settled = true
		r.span.EndAt(at)
	}
}

// RequestEnd ends the span, or tells the rest in another one.
func (r *requests) RequestEnd(stats proxyconn.RequestStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
	span := r.span
	if r.settled {
		span = r.spans.Start("private.request.end", trace.SpanKindClient, r.req.GetTrace(), r.span)
	}
	r.settled = true
	span.Int("private.bytes_in", int64(stats.In))   // #nosec G115 -- nobody sends 2^63 bytes
	span.Int("private.bytes_out", int64(stats.Out)) // #nosec G115 -- as above
	var reset *proxyconn.ResetError
	switch {
	case errors.As(stats.Err, &reset):
		span.Fail(reset.Code.String())
	case stats.Err != nil:
		span.Fail("the proxy connection was lost")
	}
	span.End()
}
