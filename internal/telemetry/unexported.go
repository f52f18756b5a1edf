package telemetry

import (
	"context"
	"os"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// unexported gives spans that nobody will see all that others see of them: ids for
// logs, error pages and the next hop, and the flag that the SDK's default sampler
// would set. They record nothing.
type unexported struct{ embedded.TracerProvider }

// defaultSampler says that the flag is not the environment's to decide.
func defaultSampler() bool { return os.Getenv("OTEL_TRACES_SAMPLER") == "" }

func (unexported) Tracer(string, ...trace.TracerOption) trace.Tracer { return unexportedTracer{} }

type unexportedTracer struct{ embedded.Tracer }

func (unexportedTracer) Start(ctx context.Context, _ string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := trace.SpanContextFromContext(ctx)
	if parent.IsValid() && len(opts) > 0 {
		if config := trace.NewSpanStartConfig(opts...); config.NewRoot() {
			parent = trace.SpanContext{}
		}
	}
	own := trace.SpanContextConfig{TraceID: parent.TraceID(), TraceFlags: parent.TraceFlags(), TraceState: parent.TraceState()}
	if parent.IsValid() {
		own.SpanID = idGenerator{}.NewSpanID(ctx, own.TraceID)
	} else {
		own.TraceID, own.SpanID = idGenerator{}.NewIDs(ctx)
		own.TraceFlags, own.TraceState = trace.FlagsSampled, trace.TraceState{}
	}
	span := unexportedSpan{context: trace.NewSpanContext(own)}
	return trace.ContextWithSpan(ctx, span), span
}

type unexportedSpan struct {
	noop.Span
	context trace.SpanContext
}

func (s unexportedSpan) SpanContext() trace.SpanContext { return s.context }

func (unexportedSpan) TracerProvider() trace.TracerProvider { return unexported{} }
