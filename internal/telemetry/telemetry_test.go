package telemetry_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dialback/dialback/internal/telemetry"
)

// exporter remembers whether somebody shut it down.
type exporter struct {
	*tracetest.InMemoryExporter
	closed atomic.Bool
}

func (e *exporter) Shutdown(context.Context) error {
	e.closed.Store(true)
	return nil
}

func newExporter() *exporter {
	return &exporter{InMemoryExporter: tracetest.NewInMemoryExporter()}
}

func newTelemetry(t *testing.T, service string, exp sdktrace.SpanExporter) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: service, Instance: "i-1", Version: "v1"}, exp)
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

func TestPartsOfOneProcessShareAnExporter(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "one-name-for-all")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
	exp := newExporter()
	a, b := newTelemetry(t, "frontdoor", exp), newTelemetry(t, "connector", exp)
	for _, tel := range []*telemetry.Telemetry{a, b} {
		_, span := tel.Tracer.Tracer("t").Start(t.Context(), "s")
		span.End()
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if exp.closed.Load() {
			t.Fatal("a part's Shutdown closed the shared exporter")
		}
	}
	spans := exp.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans were exported", len(spans))
	}
	for i, service := range []string{"frontdoor", "connector"} {
		set := spans[i].Resource.Set()
		for key, want := range map[attribute.Key]string{
			"service.name": service, "service.instance.id": "i-1", "service.version": "v1",
			"deployment.environment": "test", "telemetry.sdk.language": "go",
		} {
			if got, _ := set.Value(key); got.AsString() != want {
				t.Errorf("%s is %q, want %q", key, got.AsString(), want)
			}
		}
	}
}

func TestSamplerIsTheEnvironments(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	_, span := newTelemetry(t, "s", nil).Tracer.Tracer("t").Start(t.Context(), "s")
	if sc := span.SpanContext(); !sc.IsValid() || sc.IsSampled() {
		t.Fatalf("span context %+v: want ids and no sampling", sc)
	}
}

func TestDisabledSDKStillPassesTheTraceOn(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "TRUE")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	exp := newExporter()
	tel := newTelemetry(t, "s", exp)
	ctx := tel.Propagator.Extract(t.Context(), propagation.MapCarrier{"traceparent": parent})
	ctx, span := tel.Tracer.Tracer("t").Start(ctx, "s")
	span.End()
	if got := telemetry.Inject(ctx).GetTraceparent(); got != parent {
		t.Errorf("passed on %q", got)
	}
	if err := tel.Shutdown(t.Context()); err != nil || len(exp.GetSpans()) != 0 {
		t.Errorf("%v, %d spans", err, len(exp.GetSpans()))
	}
}

func TestExporterFromEnvironment(t *testing.T) {
	const endpoint, tracesEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	const url = "http://127.0.0.1:1"
	for _, c := range []struct {
		name string
		env  map[string]string
		want bool
		err  string
	}{
		{"nothing", nil, false, ""},
		{"endpoint", map[string]string{endpoint: url}, true, ""},
		{"traces endpoint", map[string]string{tracesEndpoint: url}, true, ""},
		{"none", map[string]string{endpoint: url, "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		{"otlp", map[string]string{endpoint: url, "OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		{"disabled", map[string]string{endpoint: url, "OTEL_SDK_DISABLED": "true"}, false, ""},
		{"other exporter", map[string]string{endpoint: url, "OTEL_TRACES_EXPORTER": "zipkin"}, false, "otlp or none"},
		{"other protocol", map[string]string{endpoint: url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, false, "4317"},
		{"protocol for traces", map[string]string{
			endpoint: url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
		}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			exp, err := telemetry.NewExporter(t.Context())
			if (exp != nil) != c.want || (err != nil) != (c.err != "") {
				t.Fatalf("exporter %v, error %v", exp, err)
			}
			if err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %q does not say %q", err, c.err)
			}
			if exp != nil {
				if err := exp.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestACollectorThatIsAwayBlocksNobody(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	tel := newTelemetry(t, "s", nil)
	tracer := tel.Tracer.Tracer("t")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10_000 { // far more than the queue holds
			_, span := tracer.Start(context.Background(), "s")
			span.End()
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := tel.Shutdown(ctx); err == nil {
			t.Error("Shutdown says that the spans are exported")
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("tracing blocks while its collector is away")
	}
}

func TestSpanIDIsTakenByTheNextSpanOnly(t *testing.T) {
	t.Parallel()
	tracer := newTelemetry(t, "s", newExporter()).Tracer.Tracer("t")
	want := trace.SpanID{1, 2, 3, 4, 5, 6, 7, 8}
	for name, ctx := range map[string]context.Context{
		"root":  t.Context(),
		"child": remote(t),
	} {
		ctx = telemetry.WithSpanID(ctx, want)
		first, span := tracer.Start(ctx, "first")
		if got := span.SpanContext().SpanID(); got != want {
			t.Errorf("%s: the span took %v", name, got)
		}
		for what, ctx := range map[string]context.Context{"sibling": ctx, "child": first} {
			_, span := tracer.Start(ctx, "later")
			if got := span.SpanContext().SpanID(); got == want || !got.IsValid() {
				t.Errorf("%s: a %s took %v", name, what, got)
			}
		}
	}
	_, span := tracer.Start(telemetry.WithSpanID(t.Context(), trace.SpanID{}), "zero")
	if !span.SpanContext().IsValid() {
		t.Error("a zero id was taken")
	}
}

func TestLongAttributesAreCut(t *testing.T) {
	t.Parallel()
	exp := newExporter()
	tel := newTelemetry(t, "s", exp)
	_, span := tel.Tracer.Tracer("t").Start(t.Context(), "s")
	span.SetAttributes(attribute.String("peer", strings.Repeat("x", 1<<20)))
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(exp.GetSpans()[0].Attributes[0].Value.AsString()); n > 1024 {
		t.Errorf("an attribute has %d bytes", n)
	}
}
