// Package spans takes spans from agents, who sit in networks without a collector,
// and passes on those that are the agent's own to tell.
package spans

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/time/rate"

	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// MaxBatch is the size of one message, in bytes.
	MaxBatch = 64 << 10
	// Each session's bucket, in bytes.
	bytesPerSecond = 256 << 10
	bytesBurst     = 1 << 20
	// queued is how many batches wait for the exporter before more are dropped.
	queued        = 256
	exportTimeout = 10 * time.Second
)

// Exporter sends spans to a collector. An OTLP client's UploadTraces is one.
type Exporter func(ctx context.Context, spans []*tracev1.ResourceSpans) error

// Intake checks spans and exports them. Nothing waits for its exporter but its
// own Run.
type Intake struct {
	export  Exporter
	key     func() []byte
	log     *slog.Logger
	queue   chan *tracev1.ResourceSpans
	dropped atomic.Int64

	mu     sync.Mutex
	agents map[string]*allowance // by session id
}

// allowance is what is kept for a session that has sent spans.
type allowance struct {
	bytes *rate.Limiter
	// ahead is how far the agent's clock has been seen before ours: its spans are
	// moved back by that. Guarded by the intake.
	ahead time.Duration
}

// New returns an intake. Without an exporter everything is dropped; key returns
// the key of trace MACs, nil while it is not known.
func New(export Exporter, key func() []byte, log *slog.Logger) *Intake {
	return &Intake{
		export: export, key: key, log: log,
		queue:  make(chan *tracev1.ResourceSpans, queued),
		agents: make(map[string]*allowance),
	}
}

// Offer takes a batch of a session's spans, or drops and counts what is too
// much, malformed or not the agent's.
func (in *Intake) Offer(s *session.Session, otlp []byte) {
	if in.export == nil {
		return
	}
	now := time.Now()
	a := in.allowance(s)
	if len(otlp) > MaxBatch || !a.bytes.AllowN(now, len(otlp)) {
		in.dropped.Add(1)
		return
	}
	list, refused := read(otlp, s.Agent, in.key())
	in.dropped.Add(int64(refused))
	if len(list) == 0 {
		return
	}
	shift(list, in.ahead(a, list, now))
	select {
	case in.queue <- stamp(s, list):
	default:
		in.dropped.Add(int64(len(list)))
	}
}

// Forget drops what is kept for a session that has ended.
func (in *Intake) Forget(s *session.Session) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.agents, s.ID)
}

// Dropped returns how many spans, or unreadable batches, were dropped.
func (in *Intake) Dropped() int64 { return in.dropped.Load() }

func (in *Intake) allowance(s *session.Session) *allowance {
	in.mu.Lock()
	defer in.mu.Unlock()
	a := in.agents[s.ID]
	if a == nil {
		a = &allowance{bytes: rate.NewLimiter(bytesPerSecond, bytesBurst)}
		in.agents[s.ID] = a
	}
	return a
}

// ahead returns how far an agent's clock is before ours: at least so far that no
// span ends in the future.
func (in *Intake) ahead(a *allowance, list []*tracev1.Span, now time.Time) time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, span := range list {
		// #nosec G115 -- read has refused times beyond the year 2262
		a.ahead = max(a.ahead, time.Duration(int64(span.GetEndTimeUnixNano())-now.UnixNano()))
	}
	return a.ahead
}

// Run exports until ctx ends.
func (in *Intake) Run(ctx context.Context) error {
	failing := false
	for {
		select {
		case batch := <-in.queue:
			spans := in.gather(batch)
			err := in.send(ctx, spans)
			if err != nil {
				in.dropped.Add(int64(len(spans)))
			}
			if (err != nil) != failing {
				failing = err != nil
				in.log.WarnContext(ctx, "the export of agents' spans has changed", "failing", failing, "error", err, "dropped", in.Dropped())
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// gather adds what waits behind first: one export for all of it.
func (in *Intake) gather(first *tracev1.ResourceSpans) []*tracev1.ResourceSpans {
	spans := []*tracev1.ResourceSpans{first}
	for len(spans) < queued/4 {
		select {
		case next := <-in.queue:
			spans = append(spans, next)
		default:
			return spans
		}
	}
	return spans
}

func (in *Intake) send(ctx context.Context, spans []*tracev1.ResourceSpans) error {
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	return in.export(ctx, spans)
}
