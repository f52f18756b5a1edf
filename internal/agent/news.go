package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/hostname"
)

// news is something that has happened to an attachment.
type news struct {
	from *attachment
	what func(*run, *attachment) error
}

// happen acts on the news, unless the attachment is no more. Its error is final.
func (n news) happen(r *run) error {
	if n.from != nil && !slices.Contains(r.attachments, n.from) {
		return nil
	}
	return n.what(r, n.from)
}

// report tells what happens to the attachment until that ends.
func (a *attachment) report() {
	settled, given := a.settled, a.asking.Done()
	for {
		var what func(*run, *attachment) error
		ended := false
		select {
		case <-settled:
			settled, what = nil, (*run).settled
		case m := <-a.peers:
			what = func(r *run, a *attachment) error { return r.learn(a, m) }
		case m := <-a.away:
			what = func(r *run, a *attachment) error { return r.goAway(a, m) }
		case <-given:
			given = nil
			if err := context.Cause(a.asking); errors.Is(err, errTakenOver) {
				what = func(r *run, a *attachment) error { return r.lost(a, err) }
			}
		case <-a.session.Ended():
			ended = true
			what = func(r *run, a *attachment) error { return r.lost(a, a.session.Err()) }
		case <-a.closing:
			return
		}
		if what != nil && !a.tell(what) || ended {
			return
		}
	}
}

// tell hands news to the run's goroutine; false: nobody wants it any more.
func (a *attachment) tell(what func(*run, *attachment) error) bool {
	select {
	case a.run.news <- news{a, what}:
		return true
	case <-a.closing:
	case <-a.run.over:
	}
	return false
}

func (r *run) settled(a *attachment) error {
	a.ready = time.Now()
	return nil
}

// learn notes which connectors there are. A try that failed says nothing about
// the new ones.
func (r *run) learn(a *attachment, m *agentv1.Connectors) error {
	a.others = labels(m.GetOthers())
	a.spread = defaultSpread
	if m.GetSpread() != nil {
		a.spread = min(max(m.GetSpread().AsDuration(), 0), maxSpread)
	}
	r.filling.failed = false
	if a.spread < r.filling.spread {
		r.filling.at = time.Time{} // drawn again
	}
	return nil
}

// goAway notes that an attachment is to be left. It binds nothing any more, and
// serves until another one does.
func (r *run) goAway(a *attachment, m *agentv1.GoAway) error {
	if err := closedError(m.GetReason(), m.GetMessage()); err != nil {
		return r.lost(a, err)
	}
	if !a.goAt.IsZero() {
		return nil
	}
	spread := min(max(m.GetSpread().AsDuration(), 0), maxSpread)
	r.log.Debug("the server asks to attach elsewhere", "connector", a.connector(), "reason", m.GetReason(), "spread", spread)
	a.giveUp(errLeaving)
	a.goAt = time.Now().Add(jitter(spread))
	return nil
}

// lost decides what the end of an attachment means. While another one serves it
// means little.
func (r *run) lost(a *attachment, err error) error {
	r.remove(a)
	switch {
	case takenOver(err):
		r.closers.Go(a.close)
		return r.startAnew()
	case final(err):
		r.closers.Go(a.close)
		return err
	}
	lasted := a.session.Age()
	a.close() // its session is over: this takes no time
	delay := session.RetryAfterOf(err) + jitter(lostJitter)
	if lasted >= workedFor {
		r.wait.Reset()
	} else {
		delay = r.wait.Next(session.RetryAfterOf(err))
	}
	if len(r.attachments) > 0 {
		if a.goAt.IsZero() {
			r.emit(Narrowed{Connector: a.connector(), Cause: err})
		}
		return nil
	}
	r.markLost()
	r.retryAt = time.Now().Add(delay)
	r.emit(Retrying{Cause: err, In: delay, Lost: true})
	return nil
}

// markLost has the tunnels' return announced.
func (r *run) markLost() {
	for _, t := range r.tunnels {
		t.mu.Lock()
		t.lost = len(t.urls) > 0
		t.mu.Unlock()
	}
}

// remove takes an attachment out of those that serve.
func (r *run) remove(a *attachment) {
	r.attachments = slices.DeleteFunc(r.attachments, func(other *attachment) bool { return other == a })
	if r.carrying == a {
		r.carrying = nil
		if len(r.attachments) > 0 {
			r.carry(r.attachments[len(r.attachments)-1])
		}
	}
}

// carry has the spans travel on an attachment.
func (r *run) carry(a *attachment) {
	r.carrying = a
	r.spans.Use(a.session)
}

// labels returns those of connectors' ids that can be part of a server's name.
func labels(ids []string) []string {
	const maxOthers = 16
	var names []string
	for _, id := range ids[:min(len(ids), maxOthers)] {
		if label, err := hostname.Label(id); err == nil {
			names = append(names, label)
		}
	}
	return names
}

// jitter is a random part of d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // jitter, no secret
}
