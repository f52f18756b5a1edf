package telemetry_test

import (
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/dialback/dialback/internal/telemetry"
)

// What others see of a span does not tell whether anybody collects it.
func TestSpansThatNobodyExports(t *testing.T) {
	t.Parallel()
	tracer := newTelemetry(t, "s", nil).Tracer.Tracer("t")
	ctx, root := tracer.Start(t.Context(), "root")
	_, child := tracer.Start(ctx, "child")
	_, other := tracer.Start(ctx, "other", trace.WithNewRoot())
	if sc := root.SpanContext(); !sc.IsValid() || !sc.IsSampled() || sc.IsRemote() || root.IsRecording() {
		t.Errorf("root %+v", sc)
	}
	if a, b := root.SpanContext(), child.SpanContext(); a.TraceID() != b.TraceID() || a.SpanID() == b.SpanID() || !b.IsSampled() {
		t.Errorf("child %+v of %+v", b, a)
	}
	if a, b := root.SpanContext(), other.SpanContext(); a.TraceID() == b.TraceID() || !b.IsSampled() {
		t.Errorf("new root %+v beside %+v", b, a)
	}
	for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
		state, _ := trace.ParseTraceState("vendor=1")
		parent := trace.SpanContextFromContext(remote(t)).WithTraceFlags(flags).WithTraceState(state)
		ctx, span := tracer.Start(trace.ContextWithRemoteSpanContext(t.Context(), parent), "s")
		sc := span.SpanContext()
		if sc.TraceID() != parent.TraceID() || sc.SpanID() == parent.SpanID() || sc.TraceFlags() != flags || sc.TraceState().String() != "vendor=1" || sc.IsRemote() {
			t.Errorf("%+v below %+v", sc, parent)
		}
		if got := telemetry.Inject(ctx).GetTraceparent(); len(got) != 55 {
			t.Errorf("traceparent %q", got)
		}
	}
	want := trace.SpanID{1, 2, 3, 4, 5, 6, 7, 8}
	if _, span := tracer.Start(telemetry.WithSpanID(ctx, want), "allotted"); span.SpanContext().SpanID() != want {
		t.Errorf("allotted: %v", span.SpanContext().SpanID())
	}
}
