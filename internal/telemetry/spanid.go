package telemetry

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
)

type spanIDKey struct{}

// allotted is a span id that was promised before its span began.
type allotted struct {
	id   trace.SpanID
	used atomic.Bool
}

// WithSpanID gives id to the next span that a tracer of this package starts in the
// returned context, and only to that one. A frontdoor allots the agent's span id
// when it writes the request's traceparent, long before the agent starts the span.
// An invalid id changes nothing.
func WithSpanID(ctx context.Context, id trace.SpanID) context.Context {
	if !id.IsValid() {
		return ctx
	}
	return context.WithValue(ctx, spanIDKey{}, &allotted{id: id})
}

// NewSpanID draws an id as a tracer of this package does: for spans that another
// part will start.
func NewSpanID() trace.SpanID {
	for {
		var id trace.SpanID
		binary.BigEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // an id, no secret: what it may do is guarded by TraceMAC
		if id.IsValid() {
			return id
		}
	}
}

// idGenerator draws random ids, except for spans whose id was allotted. The ids are
// no secrets, so the fast source does.
type idGenerator struct{}

func (g idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	for {
		var id trace.TraceID
		binary.BigEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // an id, no secret: what it may do is guarded by TraceMAC
		binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // an id, no secret: what it may do is guarded by TraceMAC
		if id.IsValid() {
			return id, g.NewSpanID(ctx, id)
		}
	}
}

func (idGenerator) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if a, ok := ctx.Value(spanIDKey{}).(*allotted); ok && a.used.CompareAndSwap(false, true) {
		return a.id
	}
	return NewSpanID()
}
