package telemetry_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/telemetry"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// remote is a context whose span came over the wire.
func remote(t *testing.T) context.Context {
	t.Helper()
	return telemetry.Extract(t.Context(), &proxyv1.TraceContext{Traceparent: parent, Tracestate: "a=1"})
}

func TestTraceContextSurvivesAMessage(t *testing.T) {
	t.Parallel()
	ctx := remote(t)
	if sc := trace.SpanContextFromContext(ctx); !sc.IsRemote() || !sc.IsSampled() {
		t.Errorf("span context %+v", sc)
	}
	got := telemetry.Inject(ctx)
	if got.GetTraceparent() != parent || got.GetTracestate() != "a=1" {
		t.Errorf("injected %v", got)
	}
	if got := telemetry.Inject(t.Context()); got != nil {
		t.Errorf("without a span: injected %v", got)
	}
}

func TestHostileTraceContextsAreDropped(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]*proxyv1.TraceContext{
		"nil":               nil,
		"empty":             {},
		"only state":        {Tracestate: "a=1"},
		"too long":          {Traceparent: parent + "-" + strings.Repeat("0", 1<<16)},
		"one byte too long": {Traceparent: "01" + parent[2:] + "-"},
		"short":             {Traceparent: parent[:54]},
		"zero trace":        {Traceparent: "00-00000000000000000000000000000000-b7ad6b7169203331-01"},
		"zero span":         {Traceparent: "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"},
		"upper case":        {Traceparent: strings.ToUpper(parent)},
		"version ff":        {Traceparent: "ff" + parent[2:]},
		"NULs":              {Traceparent: strings.Repeat("\x00", 55)},
	} {
		if sc := trace.SpanContextFromContext(telemetry.Extract(t.Context(), tc)); sc.IsValid() {
			t.Errorf("%s: accepted as %+v", name, sc)
		}
	}
	long := &proxyv1.TraceContext{Traceparent: parent, Tracestate: "a=" + strings.Repeat("x", 511)}
	got := telemetry.Inject(telemetry.Extract(t.Context(), long))
	if got.GetTraceparent() != parent || got.GetTracestate() != "" {
		t.Errorf("a long tracestate: passed on %v", got)
	}
}

func TestBaggageEndsAtTheEdge(t *testing.T) {
	t.Parallel()
	p := telemetry.Noop().Propagator
	in := http.Header{"Traceparent": {parent}, "Baggage": {"user=1"}}
	ctx := p.Extract(t.Context(), propagation.HeaderCarrier(in))
	if baggage.FromContext(ctx).Len() != 0 {
		t.Error("baggage came in")
	}
	member, err := baggage.NewMember("user", "1")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	out := http.Header{}
	p.Inject(baggage.ContextWithBaggage(ctx, bag), propagation.HeaderCarrier(out))
	if out.Get("Traceparent") != parent || out.Get("Baggage") != "" {
		t.Errorf("headers that go out: %v", out)
	}
}

func TestTraceMAC(t *testing.T) {
	t.Parallel()
	id := trace.TraceID{1}
	mac := telemetry.TraceMAC([]byte("key"), "agent", id)
	// printf 'agent\0\1' plus 15 zero bytes | openssl dgst -sha256 -hmac key
	if got := hex.EncodeToString(mac); got != "1997ebfdc351f8d7" {
		t.Errorf("MAC is %s", got)
	}
	for what, other := range map[string][]byte{
		"another key":   telemetry.TraceMAC([]byte("yek"), "agent", id),
		"another agent": telemetry.TraceMAC([]byte("key"), "agent2", id),
		"another trace": telemetry.TraceMAC([]byte("key"), "agent", trace.TraceID{2}),
	} {
		if bytes.Equal(mac, other) {
			t.Errorf("%s has the same MAC", what)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(parent, "a=1,b=2")
	f.Add("01"+parent[2:], "")
	f.Add("", strings.Repeat("a=1,", 200))
	f.Fuzz(func(t *testing.T, parent, state string) {
		ctx := telemetry.Extract(t.Context(), &proxyv1.TraceContext{Traceparent: parent, Tracestate: state})
		out := telemetry.Inject(ctx)
		if len(out.GetTraceparent()) > 55 || len(out.GetTracestate()) > 512 {
			t.Fatalf("passed on %d and %d bytes", len(out.GetTraceparent()), len(out.GetTracestate()))
		}
	})
}

func TestTraceparentIsWhatThePropagatorWrites(t *testing.T) {
	t.Parallel()
	for flags := range 256 {
		sc := trace.SpanContextFromContext(remote(t)).WithTraceFlags(trace.TraceFlags(flags))
		carrier := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(t.Context(), sc), carrier)
		if got, want := telemetry.Traceparent(sc), carrier["traceparent"]; got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}
