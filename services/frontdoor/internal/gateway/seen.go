package gateway

import (
	"context"
	"net/http"
	"net/netip"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dialback/dialback/internal/telemetry"
)

// seen is what is known of a request once it was routed.
type seen struct{ pattern string }

type seenKey struct{}

func newSeen(ctx context.Context) (context.Context, *seen) {
	s := &seen{}
	return context.WithValue(ctx, seenKey{}, s), s
}

// pattern notes the pattern of a request's path, such as "/v1/sessions/{id}".
func pattern(ctx context.Context, text string) {
	if s, ok := ctx.Value(seenKey{}).(*seen); ok {
		s.pattern = text
	}
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// tracer makes the span of each request.
type tracer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	trusted    []netip.Prefix
}

func newTracer(t *telemetry.Telemetry, trusted []netip.Prefix) tracer {
	return tracer{t.Tracer.Tracer("dialback/gateway"), t.Propagator, trusted}
}

// begin starts the span below the client's own, if it names one. Whether a trace
// is recorded is ours to decide: a client's flag counts only from trusted networks.
func (t *tracer) begin(r *http.Request) (context.Context, trace.Span) {
	ctx := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ip, _ := parseAddress(r.RemoteAddr)
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() && !contain(t.trusted, ip) {
		_, probe := t.tracer.Start(r.Context(), "probe", trace.WithNewRoot()) // never ended, so never seen
		ctx = trace.ContextWithRemoteSpanContext(r.Context(), parent.WithTraceFlags(probe.SpanContext().TraceFlags()))
	}
	return t.tracer.Start(ctx, "REST "+method(r), trace.WithSpanKind(trace.SpanKindServer))
}

func (t *tracer) end(span trace.Span, pattern string, status int) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("http.route", pattern), attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}
