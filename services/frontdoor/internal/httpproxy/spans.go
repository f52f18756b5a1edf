package httpproxy

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
)

// tracing makes the frontdoor's spans.
type tracing struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	trusted    Networks
	macKey     func() []byte
}

var serverSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}

// begin starts the span of a visitor's request, below the visitor's own if it
// names one. Whether a trace is recorded is ours to decide, not any visitor's:
// its flag counts only from trusted networks.
func (t *tracing) begin(r *http.Request) (context.Context, trace.Span) {
	ctx := r.Context()
	if len(r.Header["Traceparent"]) > 0 {
		ctx = t.propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() && !t.trusted.Contain(r.RemoteAddr) {
		ctx = trace.ContextWithRemoteSpanContext(r.Context(), parent.WithTraceFlags(t.ownFlags(r.Context())))
	}
	ctx, span := t.tracer.Start(ctx, methodName(r.Method), serverSpan...)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("http.request.method", methodName(r.Method)),
			attribute.String("url.scheme", schemeOf(r)),
			attribute.String("url.path", r.URL.Path),
			attribute.String("server.address", r.Host),
			attribute.String("client.address", r.RemoteAddr),
			attribute.String("network.protocol.version", protocolVersion(r)),
			attribute.String("user_agent.original", r.UserAgent()),
		)
	}
	return ctx, span
}

// ownFlags are the flags that a trace of our own would have. The span that
// tells is never ended, so nobody sees it.
func (t *tracing) ownFlags(ctx context.Context) trace.TraceFlags {
	_, probe := t.tracer.Start(ctx, "probe", trace.WithNewRoot())
	return probe.SpanContext().TraceFlags()
}

// lookup records how the route was found.
func (t *tracing) lookup(ctx context.Context, began time.Time, trip *reach.Trip, revision int64, age time.Duration, err error) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	_, span := t.tracer.Start(ctx, "route.lookup", trace.WithTimestamp(began), trace.WithAttributes(
		attribute.Int64("dialback.route.revision", revision),
		attribute.Int64("dialback.route.age_ms", age.Milliseconds()),
		attribute.String("dialback.route.source", string(trip.Source)),
	))
	if trip.Route != nil && trip.Route.Reachable() {
		span.SetAttributes(attribute.String("dialback.route.connector", trip.Route.Attachments()[0].ConnectorID))
	}
	if err != nil {
		span.SetStatus(codes.Error, string(explain(err).Reason()))
	}
	span.End()
}

// forAgent allots the id of the span that the agent will make of this request,
// writes it into the headers, so that the service's spans become its children,
// and returns what the agent needs to make it: nothing where our own span is not
// recorded. header may be nil.
func (t *tracing) forAgent(ctx context.Context, header http.Header, agentID string) *proxyv1.Req {
	own := trace.SpanContextFromContext(ctx)
	if header != nil {
		delete(header, "Traceparent")
		delete(header, "Tracestate")
	}
	recorded := trace.SpanFromContext(ctx).IsRecording()
	if !own.IsValid() || header == nil && !recorded {
		return &proxyv1.Req{}
	}
	id := telemetry.NewSpanID()
	if header != nil {
		header["Traceparent"] = []string{telemetry.Traceparent(own.WithSpanID(id))}
		if state := own.TraceState().String(); state != "" {
			header["Tracestate"] = []string{state}
		}
	}
	if !recorded {
		return &proxyv1.Req{}
	}
	tc := telemetry.Inject(ctx)
	if key := t.macKey(); len(key) > 0 {
		tc.Mac = telemetry.TraceMAC(key, agentID, own.TraceID())
	}
	return &proxyv1.Req{Trace: tc, SpanId: id[:]}
}

// connected notes which connection the request got. One that was dialled for an
// earlier request is linked to that one's trace.
func connected(span trace.Span, served int, born trace.SpanContext, via string) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.Bool("proxy.reused", served > 0))
	if via != "" {
		span.SetAttributes(attribute.String("dialback.relay", via))
	}
	if served > 0 && born.IsValid() {
		span.AddLink(trace.Link{SpanContext: born})
	}
}

func traceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		return sc.TraceID().String()
	}
	return ""
}

// methodName keeps the names of spans few, whatever visitors invent.
func methodName(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return method
	}
	return "HTTP"
}

func protocolVersion(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2:
		return "2"
	case r.ProtoMinor == 0:
		return "1.0"
	}
	return "1.1"
}
