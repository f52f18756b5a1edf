package spans

import (
	"context"
	"sync"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
)

const (
	// maxMessage is the cap of ExportSpansRequest.otlp.
	maxMessage = 64 << 10
	// sendTimeout is how long a connector that does not read may hold a batch.
	sendTimeout = 5 * time.Second
)

// Stream takes batches of spans.
type Stream interface {
	Send(*agentv1.ExportSpansRequest) error
	CloseAndRecv() (*agentv1.ExportSpansResponse, error)
}

// Carrier opens the RPC that carries spans. The stream ends with its context.
type Carrier interface {
	OpenSpans(ctx context.Context) (Stream, error)
}

// client is the last step of the exporter: it cuts batches into messages and
// sends them by whichever session there is. What cannot be sent is gone; that is
// no error, for nobody could act on it.
type client struct {
	mu      sync.Mutex
	carrier Carrier
	stream  Stream
	cancel  context.CancelFunc
}

func (c *client) Start(context.Context) error { return nil }

func (c *client) Stop(context.Context) error { return nil }

func (c *client) use(carrier Carrier) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
	c.carrier = carrier
}

// finish ends the stream in order: cancelled, it would take along what is on its
// way.
func (c *client) finish(ctx context.Context) {
	c.mu.Lock()
	stream, cancel := c.stream, c.cancel
	c.mu.Unlock()
	if stream != nil {
		defer context.AfterFunc(ctx, cancel)()
		_, _ = stream.CloseAndRecv()
	}
	c.use(nil)
}

func (c *client) closeLocked() {
	if c.cancel != nil {
		c.cancel()
	}
	c.stream, c.cancel = nil, nil
}

// UploadTraces is called by one goroutine at a time.
func (c *client) UploadTraces(ctx context.Context, batch []*tracev1.ResourceSpans) error {
	stream, cancel := c.open()
	if stream == nil {
		return nil
	}
	ctx, done := context.WithTimeout(ctx, sendTimeout)
	defer done()
	defer context.AfterFunc(ctx, cancel)() // unblocks Send
	for _, message := range split(batch) {
		if err := stream.Send(message); err != nil {
			c.drop(stream)
			return nil
		}
	}
	return nil
}

// open returns the stream of the present carrier, or nil.
func (c *client) open() (Stream, context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == nil && c.carrier != nil {
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := c.carrier.OpenSpans(ctx)
		if err != nil {
			cancel()
			return nil, nil
		}
		c.stream, c.cancel = stream, cancel
	}
	return c.stream, c.cancel
}

func (c *client) drop(stream Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == stream {
		c.closeLocked()
	}
}

// split makes messages within the cap. What describes this machine stays here:
// the connector says who the spans are from.
func split(batch []*tracev1.ResourceSpans) []*agentv1.ExportSpansRequest {
	var out []*agentv1.ExportSpansRequest
	var pending []*tracev1.Span
	size := 0
	flush := func() {
		if data, err := proto.Marshal(request(pending)); err == nil && len(pending) > 0 && len(data) <= maxMessage {
			out = append(out, &agentv1.ExportSpansRequest{Otlp: data})
		}
		pending, size = nil, 0
	}
	for _, resource := range batch {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				const framing = 64 // bytes around the spans, generously
				n := proto.Size(span) + 8
				if size+n > maxMessage-framing {
					flush()
				}
				pending, size = append(pending, span), size+n
			}
		}
	}
	flush()
	return out
}

func request(spans []*tracev1.Span) *collectorv1.ExportTraceServiceRequest {
	return &collectorv1.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{{
		ScopeSpans: []*tracev1.ScopeSpans{{Spans: spans}},
	}}}
}
