package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dialback/dialback/internal/agent/backoff"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/rpc"
)

const (
	// defaultSpread is for servers that name none.
	defaultSpread = time.Minute
	// idle is when a plan is looked at again that has nothing to do.
	idle = time.Hour
)

// try is an attempt at an attachment, and what became of it.
type try struct {
	attachment *attachment
	err        error
}

// filling is the way to as many attachments as are wanted. It is no hurry: one
// serves.
type filling struct {
	wait   *backoff.Backoff // between tries that failed
	at     time.Time        // when the next try is due; zero: not drawn
	spread time.Duration    // that at was drawn from; 0: it was not
	failed bool             // the last try, and no connector is new since
}

// plan does what is due, and returns when to look again if nothing happens.
func (r *run) plan(ctx context.Context, now time.Time) time.Time {
	if r.trying != nil || r.closing != nil {
		return now.Add(idle) // its end is news
	}
	next := r.leave(now)
	if r.closing != nil {
		return now.Add(idle)
	}
	name, at := r.wish(now)
	if name == "" || now.Before(at) {
		return earliest(now.Add(idle), next, at)
	}
	ctx, r.trying = context.WithCancel(ctx)
	go func() {
		a, err := r.open(ctx, name)
		r.tried <- try{a, err}
	}()
	return now.Add(idle)
}

// leave leaves an attachment that was told to go, one at a time, once others
// serve. It returns when to look again; zero: at the next news.
func (r *run) leave(now time.Time) time.Time {
	going := r.going()
	if going == nil {
		return time.Time{}
	}
	if now.Before(going.goAt) {
		return going.goAt
	}
	stay := r.staying()
	if len(stay) == 0 {
		return time.Time{}
	}
	for _, a := range stay {
		if at := a.servesAt(); now.Before(at) {
			return at
		}
	}
	if r.missing() > 0 && len(r.candidates()) > 0 && !r.filling.failed {
		return time.Time{} // first there is to be another one in its place
	}
	r.remove(going)
	r.closing = going
	r.closers.Go(func() {
		going.close()
		select {
		case r.news <- news{what: (*run).left}:
		case <-r.over:
		}
	})
	return time.Time{}
}

func (r *run) left(*attachment) error {
	r.closing = nil
	return nil
}

// servesAt is from when on an attachment counts as one that serves: its tunnels
// stand, and frontdoors have had the time to hear of it.
func (a *attachment) servesAt() time.Time {
	if a.ready.IsZero() {
		return a.joined.Add(settleLimit)
	}
	return a.ready.Add(overlap)
}

// wish says whom to attach to, and when; "": to nobody.
func (r *run) wish(now time.Time) (serverName string, at time.Time) {
	stay, others := r.staying(), r.candidates()
	switch going := r.going(); {
	case len(stay) > 0:
		return r.fill(now, others)
	case going == nil:
		return r.controlName(), r.retryAt
	default: // all that there are were told to go
		at = later(going.goAt, r.retryAt)
		if r.tries < len(others) {
			return others[r.tries] + "." + r.controlName(), at
		}
		return r.controlName(), at
	}
}

// fill wishes for one more attachment, at a random moment, so that all agents do
// not come to a new connector in one second. The first one's tunnels stand by
// then: a random name is drawn once.
func (r *run) fill(now time.Time, others []string) (serverName string, at time.Time) {
	f := &r.filling
	if r.missing() == 0 || len(others) == 0 {
		f.at, f.spread = time.Time{}, 0
		return "", time.Time{}
	}
	for _, a := range r.staying() {
		if a.ready.IsZero() && now.Before(a.joined.Add(settleLimit)) {
			return "", a.joined.Add(settleLimit)
		}
	}
	if going := r.going(); going != nil && !f.failed {
		f.at = going.goAt // the wait was before that
	} else if f.at.IsZero() {
		f.spread = r.spread()
		f.at = now.Add(jitter(f.spread))
	}
	return others[rand.IntN(len(others))] + "." + r.controlName(), f.at //nolint:gosec // spreads load, no secret
}

// judge decides what has become of a try. Its error is final.
func (r *run) judge(ctx context.Context, t try) error {
	r.trying()
	r.trying = nil
	if t.err != nil {
		return r.failed(ctx, t.err)
	}
	if err := r.unfit(t.attachment); err != nil {
		r.closers.Go(t.attachment.close)
		return r.failed(ctx, err)
	}
	r.join(t.attachment)
	return nil
}

// unfit says why an attachment cannot be one more of this agent.
func (r *run) unfit(a *attachment) error {
	for _, other := range r.staying() {
		switch {
		case other.connector() == a.connector():
			return errTwice
		case other.session.Welcome.GetAgentId() != a.session.Welcome.GetAgentId():
			return errOther
		}
	}
	return nil
}

func (r *run) join(a *attachment) {
	additional := len(r.attachments) > 0
	a.joined, a.others = time.Now(), labels(a.session.Welcome.GetOtherConnectors())
	r.attachments = append(r.attachments, a)
	r.worked, r.tries, r.retryAt = true, 0, time.Time{}
	r.filling.at, r.filling.failed = time.Time{}, false
	r.filling.wait.Reset()
	r.adopt(a.session.Welcome)
	if r.carrying == nil {
		r.carry(a)
	}
	a.start()
	r.emit(Connected{Connector: a.connector(), Banner: a.session.Welcome.GetBanner(), Additional: additional})
}

// failed decides what a failed try means. While something serves, it means a
// later one.
func (r *run) failed(ctx context.Context, err error) error {
	var connect *session.ConnectError
	first := !r.worked
	switch {
	case ctx.Err() != nil:
		return nil
	case takenOver(err):
		return r.startAnew()
	case final(err):
		return err
	case first && untrusted(err):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case first && r.config.FailFast && (errors.As(err, &connect) || errors.Is(err, rpc.ErrUnavailable)):
		return fmt.Errorf("%w: %w", ErrCannotConnect, err)
	}
	if len(r.staying()) > 0 {
		delay := r.filling.wait.Next(session.RetryAfterOf(err))
		r.filling.at, r.filling.spread, r.filling.failed = time.Now().Add(delay), 0, true
		r.log.DebugContext(ctx, "one more connection cannot be made", "error", err, "next_try_in", delay)
		return nil
	}
	r.tries++
	delay := r.wait.Next(session.RetryAfterOf(err))
	r.retryAt = time.Now().Add(delay)
	if len(r.attachments) == 0 {
		r.markLost()
		r.emit(Retrying{Cause: err, In: delay})
	}
	return nil
}

// endTry ends the try that is under way, if there is one, with what it has
// brought.
func (r *run) endTry() {
	if r.trying == nil {
		return
	}
	r.trying()
	r.trying = nil
	if t := <-r.tried; t.err == nil {
		r.closers.Go(t.attachment.close)
	}
}

// staying are the attachments that were not told to go.
func (r *run) staying() []*attachment {
	var stay []*attachment
	for _, a := range r.attachments {
		if a.goAt.IsZero() {
			stay = append(stay, a)
		}
	}
	return stay
}

// going is the attachment that is to be left next; nil: none is.
func (r *run) going() *attachment {
	var next *attachment
	for _, a := range r.attachments {
		if !a.goAt.IsZero() && (next == nil || a.goAt.Before(next.goAt)) {
			next = a
		}
	}
	return next
}

// missing is how many attachments are wanted beside those that stay.
func (r *run) missing() int { return max(r.config.Attachments-len(r.staying()), 0) }

// candidates are the labels of connectors that take sessions and that this agent
// is not attached to: those that the latest attachment knows first.
func (r *run) candidates() []string {
	var found []string
	for _, a := range slices.Backward(r.attachments) {
		for _, label := range a.others {
			if !slices.Contains(found, label) && !r.attachedTo(label) {
				found = append(found, label)
			}
		}
	}
	return found
}

func (r *run) attachedTo(connector string) bool {
	return slices.ContainsFunc(r.attachments, func(a *attachment) bool { return a.connector() == connector })
}

// spread is over which time this agent and all others come to a new connector,
// as the latest of those says that stay.
func (r *run) spread() time.Duration {
	stay := r.staying()
	return stay[len(stay)-1].spread
}

// controlName is the server name under which any connector may answer.
func (r *run) controlName() string { return "control." + r.config.Domain }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earliest returns the earliest of the moments that are set.
func earliest(moments ...time.Time) time.Time {
	first := moments[0]
	for _, m := range moments[1:] {
		if !m.IsZero() && m.Before(first) {
			first = m
		}
	}
	return first
}
