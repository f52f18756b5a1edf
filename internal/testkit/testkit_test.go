package testkit_test

import (
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSpansArrive(t *testing.T) {
	t.Parallel()
	sink := testkit.Spans(t)
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "part"}, sink.Exporter())
	if err != nil {
		t.Fatal(err)
	}
	tracer := tel.Tracer.Tracer("test")
	ctx, parent := tracer.Start(t.Context(), "parent")
	_, child := tracer.Start(ctx, "child", trace.WithAttributes(attribute.Int("n", 7)))
	child.End()
	parent.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := sink.Wait(func(spans []testkit.Span) bool { return len(spans) == 2 })
	got, above := spans[0], spans[1]
	if got.GetName() != "child" || got.Service() != "part" || got.Attribute("n") != "7" {
		t.Errorf("span %v of %q", got.Span, got.Service())
	}
	if got.TraceID() != parent.SpanContext().TraceID().String() || got.ParentID() != above.SpanID() || above.ParentID() != "" {
		t.Errorf("the spans do not hang together: %v, %v", got.Span, above.Span)
	}
}

func TestALateLineIsDropped(t *testing.T) {
	t.Parallel()
	var log *slog.Logger
	t.Run("ends", func(t *testing.T) {
		log = testkit.Logger(t)
		log.Debug("in time")
	})
	log.Info("too late") // panics if it reaches the ended test
}

func TestPrefixesDiffer(t *testing.T) {
	t.Parallel()
	if p := testkit.Prefix(t); !strings.HasPrefix(p, "/"+t.Name()+"/") || !strings.HasSuffix(p, "/") || p == testkit.Prefix(t) {
		t.Errorf("prefix %q", p)
	}
}
