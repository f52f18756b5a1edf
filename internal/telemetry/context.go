package telemetry

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

const (
	traceparent    = "traceparent"
	tracestate     = "tracestate"
	maxTraceparent = 55  // bytes: version 00 has exactly these
	maxTracestate  = 512 // bytes: what the standard asks everybody to pass on
	macLen         = 8   // bytes
)

// edge is the W3C trace context with its sizes capped. What is too long is dropped:
// a long traceparent and the trace with it, a long tracestate alone.
type edge struct{ w3c propagation.TraceContext }

func (e edge) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	e.w3c.Inject(ctx, carrier)
}

func (e edge) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	return e.extract(ctx, carrier.Get(traceparent), carrier.Get(tracestate))
}

func (e edge) Fields() []string { return e.w3c.Fields() }

func (e edge) extract(ctx context.Context, parent, state string) context.Context {
	if len(parent) == 0 || len(parent) > maxTraceparent {
		return ctx
	}
	capped := propagation.MapCarrier{traceparent: parent}
	if len(state) <= maxTracestate {
		capped[tracestate] = state
	}
	return e.w3c.Extract(ctx, capped)
}

// Inject returns the trace context of ctx's span for a message, or nil where there
// is none.
func Inject(ctx context.Context) *proxyv1.TraceContext {
	carrier := propagation.MapCarrier{}
	edge{}.Inject(ctx, carrier)
	if carrier[traceparent] == "" {
		return nil
	}
	tc := &proxyv1.TraceContext{Traceparent: carrier[traceparent]}
	if state := carrier[tracestate]; len(state) <= maxTracestate {
		tc.Tracestate = state
	}
	return tc
}

// Extract returns ctx with the span of a message as its remote parent, or ctx
// unchanged where the message has none that is well-formed.
func Extract(ctx context.Context, tc *proxyv1.TraceContext) context.Context {
	return edge{}.extract(ctx, tc.GetTraceparent(), tc.GetTracestate())
}

// TraceMAC ties a trace to the agent that may write spans into it: the first 8 bytes
// of HMAC-SHA-256 over agent id, a zero byte and trace id, under a key that only the
// cluster has. Compare it with hmac.Equal.
func TraceMAC(key []byte, agentID string, traceID trace.TraceID) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(agentID))
	mac.Write([]byte{0})
	mac.Write(traceID[:])
	return mac.Sum(nil)[:macLen]
}

// Traceparent is a span context in the header's form, version 00.
func Traceparent(sc trace.SpanContext) string {
	var text [maxTraceparent]byte
	traceID, spanID := sc.TraceID(), sc.SpanID()
	copy(text[:], "00-")
	hex.Encode(text[3:], traceID[:])
	text[35] = '-'
	hex.Encode(text[36:], spanID[:])
	text[52] = '-'
	hex.Encode(text[53:], []byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))})
	return string(text[:])
}
