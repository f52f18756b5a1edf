package agent

import (
	"context"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/agent/backoff"
	"github.com/dialback/dialback/internal/agent/dialer"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/agent/spans"
	"github.com/dialback/dialback/internal/agent/state"
)

// run is one Run of an Agent. Its goroutine alone decides about attachments:
// what happens to them comes to it as news.
type run struct {
	*Agent
	slot     *state.Slot
	instance [16]byte
	spans    *spans.Recorder
	forward  *forward.Forwarder
	dialer   *dialer.Dialer
	tunnels  []*tunnel
	fatal    context.CancelCauseFunc

	news    chan news
	tried   chan try
	over    chan struct{}  // closed when nobody hears the news any more
	closers sync.WaitGroup // of attachments that are being closed

	// The rest belongs to the goroutine of run.
	attachments []*attachment      // those that serve, oldest first
	closing     *attachment        // the one that is being left
	carrying    *attachment        // the one that the spans travel on
	trying      context.CancelFunc // ends the try that is under way; nil: none is
	worked      bool               // there was a session
	wait        *backoff.Backoff   // between tries while no attachment stays
	retryAt     time.Time          // no such try before
	tries       int                // since there was an attachment that stays
	filling     filling
}

func (r *run) run(ctx context.Context) error {
	life, fatal := context.WithCancelCause(ctx)
	defer fatal(nil)
	r.fatal = fatal
	err := r.keepAttached(life)
	close(r.over)
	r.endTry()
	if ctx.Err() != nil && len(r.attachments) > 0 {
		r.emit(Stopping{})
		r.closeTunnels()
	}
	r.stop(ctx.Err() != nil)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// keepAttached returns when ctx ends, with its cause, or with an error that is
// final.
func (r *run) keepAttached(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(r.plan(ctx, time.Now())))
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case t := <-r.tried:
			err = r.judge(ctx, t)
		case n := <-r.news:
			err = n.happen(r)
		case <-timer.C:
		}
		if err != nil {
			return err
		}
	}
}

// stop ends everything; orderly: visitors who are there may finish.
func (r *run) stop(orderly bool) {
	limit := finishLimit
	if !orderly {
		limit = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r.dialer.Stop(ctx)
	// The spans travel on a session: they go first.
	flush, cancelFlush := context.WithTimeout(context.Background(), flushLimit)
	defer cancelFlush()
	if err := r.spans.Shutdown(flush); err != nil {
		r.log.Debug("the last spans are lost", "error", err)
	}
	r.closeAll()
}

// closeTunnels gives the names back, by every attachment, and serves those
// visitors whose frontdoor does not know yet.
func (r *run) closeTunnels() {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var tasks sync.WaitGroup
	for _, a := range r.attachments {
		tasks.Go(func() { a.closeTunnels(ctx) })
	}
	tasks.Wait()
	_ = backoff.Sleep(context.Background(), linger-time.Since(began))
}

// closeAll closes every attachment and waits until nothing is left of any.
func (r *run) closeAll() {
	for _, a := range r.attachments {
		r.closers.Go(a.close)
	}
	r.attachments = nil
	r.closers.Wait()
}
