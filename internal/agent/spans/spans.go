// Package spans makes the agent's part of a visitor's trace. Agents sit in
// networks with no collector, so the spans travel up the control connection, in
// an RPC of their own. They are the first thing to be dropped: a trace is worth
// less than a Pong.
package spans

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/telemetry"
)

// macAttribute proves to the connector that this agent was asked to take part
// in the trace: nobody can write into a stranger's.
const macAttribute = "dialback.trace_mac"

// maxMAC caps what a peer may have us echo.
const maxMAC = 64

// Recorder starts spans and sends those that have ended.
type Recorder struct {
	tel    *telemetry.Telemetry
	tracer trace.Tracer
	client *client
}

// New returns a Recorder that drops everything until it is given a Carrier.
func New(ctx context.Context, version, instance string) (*Recorder, error) {
	c := &client{}
	exporter, err := otlptrace.New(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("set up tracing: %w", err)
	}
	tel, err := telemetry.New(ctx, telemetry.Config{Service: "agent", Instance: instance, Version: version}, exporter)
	if err != nil {
		return nil, err
	}
	return &Recorder{tel: tel, tracer: tel.Tracer.Tracer("dialback/agent"), client: c}, nil
}

// Use sends spans by this carrier from now on; nil drops them.
func (r *Recorder) Use(c Carrier) { r.client.use(c) }

// Shutdown sends what is left, within ctx.
func (r *Recorder) Shutdown(ctx context.Context) error {
	err := r.tel.Shutdown(ctx)
	r.client.finish(ctx)
	return err
}

// Span is one span, or nothing where the trace is not sampled.
type Span struct{ otel trace.Span }

// Start begins a span below the trace context that came with a message. Without
// one, or where it is not sampled, the span records nothing. A link to another
// span may be given.
func (r *Recorder) Start(name string, kind trace.SpanKind, parent *proxyv1.TraceContext, link Span) Span {
	return r.start(context.Background(), name, kind, parent, link)
}

// StartAs is Start with a span id that the other side has allotted.
func (r *Recorder) StartAs(id []byte, name string, kind trace.SpanKind, parent *proxyv1.TraceContext, link Span) Span {
	var spanID trace.SpanID
	if len(id) == len(spanID) {
		copy(spanID[:], id)
	}
	return r.start(telemetry.WithSpanID(context.Background(), spanID), name, kind, parent, link)
}

func (r *Recorder) start(ctx context.Context, name string, kind trace.SpanKind, parent *proxyv1.TraceContext, link Span) Span {
	ctx = telemetry.Extract(ctx, parent)
	mac := parent.GetMac()
	if !trace.SpanContextFromContext(ctx).IsSampled() || len(mac) > maxMAC {
		return Span{trace.SpanFromContext(context.Background())}
	}
	options := []trace.SpanStartOption{
		trace.WithSpanKind(kind),
		trace.WithAttributes(attribute.String(macAttribute, hex.EncodeToString(mac))),
	}
	if link.otel != nil && link.otel.SpanContext().IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: link.otel.SpanContext()}))
	}
	_, span := r.tracer.Start(ctx, name, options...)
	return Span{span}
}

// Context returns ctx with the span, so that log lines name it.
func (s Span) Context(ctx context.Context) context.Context {
	if s.otel == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s.otel)
}

// String, Int, Bool and Duration add an attribute.
func (s Span) String(key, value string) { s.otel.SetAttributes(attribute.String(key, value)) }

// Int adds a number.
func (s Span) Int(key string, value int64) { s.otel.SetAttributes(attribute.Int64(key, value)) }

// Bool adds a truth.
func (s Span) Bool(key string, value bool) { s.otel.SetAttributes(attribute.Bool(key, value)) }

// Duration adds a duration in milliseconds; its key says so.
func (s Span) Duration(key string, d time.Duration) {
	s.otel.SetAttributes(attribute.Float64(key, float64(d)/float64(time.Millisecond)))
}

// Fail marks the span. The text is for the trace: coarse, no private cause.
func (s Span) Fail(text string) { s.otel.SetStatus(codes.Error, text) }

// Recording says whether anybody will see the span.
func (s Span) Recording() bool { return s.otel.IsRecording() }

// End ends the span.
func (s Span) End() { s.otel.End() }

// EndAt ends the span at an earlier time.
func (s Span) EndAt(t time.Time) { s.otel.End(trace.WithTimestamp(t)) }
