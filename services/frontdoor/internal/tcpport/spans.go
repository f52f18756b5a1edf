package tcpport

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
)

// tracing makes two spans of a connection: one of its set-up, and one, linked to
// it, when it ends, which may be in days.
type tracing struct {
	tracer trace.Tracer
	macKey func() []byte
}

func newTracing(d Deps) *tracing {
	return &tracing{
		tracer: d.Telemetry.Tracer.Tracer("github.com/dialback/dialback/services/frontdoor"), macKey: d.MACKey,
	}
}

// span is of one connection.
type span struct {
	trace.Span
	ctx    context.Context
	tracer trace.Tracer
	name   string
}

func (t *tracing) begin(ctx context.Context, c *ingress.Conn, name string) (context.Context, *span) {
	ctx, s := t.tracer.Start(ctx, "tcp.connect", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("dialback.endpoint", name),
		attribute.String("client.address", c.RemoteAddr().String()),
	))
	return ctx, &span{Span: s, ctx: context.WithoutCancel(ctx), tracer: t.tracer, name: name}
}

// forAgent is what the agent needs to continue the trace; nil: it is not recorded.
func (t *tracing) forAgent(ctx context.Context, agentID string) *proxyv1.TraceContext {
	own := trace.SpanFromContext(ctx)
	if !own.IsRecording() {
		return nil
	}
	tc := telemetry.Inject(ctx)
	if key := t.macKey(); tc != nil && len(key) > 0 {
		tc.Mac = telemetry.TraceMAC(key, agentID, own.SpanContext().TraceID())
	}
	return tc
}

// fail ends the set-up that has led nowhere.
func (s *span) fail(reason string) {
	s.SetAttributes(attribute.String("dialback.error", reason))
	s.SetStatus(codes.Error, reason)
	s.End()
}

// connected ends the set-up.
func (s *span) connected(st *stream) {
	if st.proxy.Via != "" {
		s.SetAttributes(attribute.String("dialback.relay", st.proxy.Via))
	}
	s.End()
}

// closed tells of the whole connection.
func (s *span) closed(v Visit) {
	if !s.SpanContext().IsSampled() {
		return
	}
	_, end := s.tracer.Start(s.ctx, "tcp.close", trace.WithLinks(trace.Link{SpanContext: s.SpanContext()}), trace.WithAttributes(
		attribute.String("dialback.endpoint", s.name),
		attribute.Int64("dialback.bytes_in", int64(v.In)),   // #nosec G115 -- nobody sends 2^63 bytes
		attribute.Int64("dialback.bytes_out", int64(v.Out)), // #nosec G115 -- as above
		attribute.Int64("dialback.duration_ms", v.Took.Milliseconds()),
	))
	if v.Reason != "" {
		end.SetStatus(codes.Error, v.Reason)
		end.SetAttributes(attribute.String("dialback.error", v.Reason))
	}
	end.End()
}
