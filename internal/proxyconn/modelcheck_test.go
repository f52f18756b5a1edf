package proxyconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing/synctest"
)

// check looks at a world at rest. It returns what is wrong.
func (w *world) check() error {
	for _, c := range []*mconn{w.f, w.a} {
		if r := w.refereeOf(c); len(r.wrong) > 0 {
			return fmt.Errorf("%s %s", w.name(c), r.wrong[0])
		}
		if err := w.checkLife(c); err != nil {
			return err
		}
	}
	for _, v := range w.visits {
		if err := w.checkVisit(v); err != nil {
			return fmt.Errorf("exchange %d: %w", v.n, err)
		}
	}
	for _, err := range w.pings {
		if err != nil && !errors.Is(err, ErrBusy) && w.s.Err() == nil && w.c.Err() == nil {
			return fmt.Errorf("a ping failed on a live connection: %w", err)
		}
	}
	return nil
}

func (w *world) name(c *mconn) string {
	if c == w.f {
		return "the frontdoor's end"
	}
	return "the agent's end"
}

// checkLife: an end dies when it must and when it may, and a live one agrees
// with the referee about what is under way.
func (w *world) checkLife(c *mconn) error {
	err, r := w.errOf(c), w.refereeOf(c)
	why, must := w.mustDie[c]
	switch {
	case must && err == nil:
		return fmt.Errorf("%s survives %s: %+v", w.name(c), why, *r)
	case err != nil && !w.mayDie[c] && !(errors.Is(err, ErrRetired) && !r.open && (r.retireIn || w.retired)):
		return fmt.Errorf("%s died: %w: %+v", w.name(c), err, *r)
	case err != nil:
		return nil
	}
	if c == w.f && (r.retireIn || w.retired) && !r.open {
		return errors.New("an idle connection outlives RETIRE")
	}
	if c.behind() || r.behind {
		return nil // it is not there yet
	}
	if asked := r.stopIn && r.resp || r.refused; r.open && asked && !r.finSaid && !r.resetSaid && !c.busy() {
		return fmt.Errorf("%s does not end its direction, which nobody hears: %+v", w.name(c), *r)
	}
	under, n := w.underWay(c)
	if under != r.open || n != r.n {
		return fmt.Errorf("%s: exchange %d, under way %t: %+v", w.name(c), n, under, *r)
	}
	return nil
}

func (w *world) underWay(c *mconn) (is bool, n uint64) {
	if c == w.f {
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		return w.s.ex != nil, w.s.last
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.c.ex != nil, w.c.last
}

func (w *world) checkVisit(v *visit) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.service != nil && !bytes.HasPrefix(v.wrote, v.service.got) {
		return errors.New("the service got bytes that its visitor did not send")
	}
	if !bytes.HasPrefix(v.replied, v.got) || v.foreign {
		return errors.New("the visitor got bytes that answer another")
	}
	if v.e == nil {
		return nil
	}
	if err := w.checkRetry(v); err != nil {
		return err
	}
	if v.over() && !v.judged {
		v.judged = true
		return w.checkOutcome(v)
	}
	return nil
}

// checkRetry: what is once said to be undelivered is so for ever.
func (w *world) checkRetry(v *visit) error {
	v.e.s.mu.Lock()
	sent := v.e.sent > v.e.requestAt
	v.e.s.mu.Unlock()
	if sent && !v.e.RequestDelivered() {
		v.undelivered[v.request] = true
	}
	if v.service == nil {
		return nil
	}
	for at := 0; at < len(v.service.got); at += word {
		if v.undelivered[int(v.service.got[at+8])] {
			return fmt.Errorf("request %d may be repeated elsewhere and was delivered", v.service.got[at+8])
		}
	}
	return nil
}

// checkOutcome: how the exchange ended at the frontdoor is one of the defined
// ways, is the truth, and fits what became of the connection.
func (w *world) checkOutcome(v *visit) error {
	o, err := v.e.Outcome(), w.s.Err()
	if o.Reusable != (err == nil) && !errors.Is(err, ErrRetired) {
		return fmt.Errorf("%+v on a connection with %w", o, err)
	}
	if (o.Err == nil) != (o.Kind == Clean) {
		return fmt.Errorf("%+v", o)
	}
	listens := !v.closedRead && !v.closed
	switch o.Kind {
	case Clean:
		if listens && (!errors.Is(v.readErr, io.EOF) || !bytes.Equal(v.got, v.replied)) {
			return fmt.Errorf("clean, and the visitor got %d bytes of %d, %w", len(v.got), len(v.replied), v.readErr)
		}
	case Refused:
		if v.service != nil || v.e.RequestDelivered() {
			return errors.New("refused, and delivered")
		}
	case Reset:
		var r *ResetError
		if !errors.As(o.Err, &r) || r.Local && !v.aborted && !v.closed || !r.Local && !v.resets {
			return fmt.Errorf("nobody did that: %+v", o)
		}
	case Lost:
		if err == nil {
			return errors.New("lost on a live connection")
		}
	default:
		return fmt.Errorf("ended in no defined way: %+v", o)
	}
	return nil
}

// checkAgreement: both ends have ended an exchange and agree as far as a
// connection that may be lost lets them.
func (w *world) checkAgreement(v *visit) error {
	if v.e == nil || !v.over() {
		return errors.New("the exchange never ended at the frontdoor")
	}
	if v.ce == nil {
		return nil
	}
	w.c.mu.Lock()
	ended, refused, err, stopped := v.ce.ended, v.ce.refused, v.ce.err, v.ce.stopPosted
	w.c.mu.Unlock()
	if !ended {
		return errors.New("the exchange never ended at the agent")
	}
	var reset *ResetError
	isReset, lost := errors.As(err, &reset), err != nil && !errors.As(err, &reset)
	o := v.e.Outcome()
	agree := lost && w.c.Err() != nil || o.Kind == Lost
	switch o.Kind {
	case Clean:
		agree = agree || err == nil && !refused
	case Refused:
		agree = agree || refused && (err == nil || v.aborted || v.closed)
	case Reset:
		agree = agree || isReset || err == nil && (v.aborted || v.closed)
	}
	if !agree {
		return fmt.Errorf("frontdoor %+v, agent refused %t, %w", o, refused, err)
	}
	if err == nil && !refused && !stopped && (!bytes.Equal(v.service.got, v.wrote) || !v.service.gotEnd) {
		return fmt.Errorf("clean at the agent, and the service got %d bytes of %d, end %t", len(v.service.got), len(v.wrote), v.service.gotEnd)
	}
	if v.service != nil && (!v.pipeDone || !v.service.closed) {
		return errors.New("the private connection leaks")
	}
	return nil
}

// finish lets everybody come to an end, wants it to be one of the defined ones,
// and wants a connection that has survived to serve the next visitor.
func (w *world) finish() error {
	w.calm()
	w.exchanges++ // for the probe
	if err := w.wind(); err != nil {
		return err
	}
	if w.s.Err() == nil && w.c.Err() == nil && !w.agent.retireIn {
		if err := w.probe(); err != nil {
			return fmt.Errorf("the next visitor: %w", err)
		}
	}
	if (w.s.Err() == nil) != (w.c.Err() == nil) {
		return fmt.Errorf("one end outlives the other: frontdoor %w, agent %w", w.s.Err(), w.c.Err())
	}
	for _, v := range w.visits {
		if err := w.checkAgreement(v); err != nil {
			return fmt.Errorf("exchange %d: %w", v.n, err)
		}
	}
	return nil
}

// calm makes the world one in which nothing is slow.
func (w *world) calm() {
	for _, c := range []*mconn{w.f, w.a} {
		c.mu.Lock()
		c.hold = false
		c.mu.Unlock()
		c.release()
	}
	w.mu.Lock()
	w.slow = false
	for _, v := range w.visits {
		if v.service != nil {
			v.service.change(func() { v.service.slow = false })
		}
	}
	w.mu.Unlock()
	synctest.Wait()
}

// wind does what is left to do until nothing is.
func (w *world) wind() error {
	for _, name := range []string{"accept", "closewrite", "servicefin", "close", "tick", "tick"} {
		if err := w.deliverAll(); err != nil {
			return err
		}
		if w.http && name == "closewrite" {
			continue // in HTTP that says nothing
		}
		if name == "tick" {
			if err := w.checkRest(); err != nil {
				return err
			}
		}
		if a := named(name); a.can(w) {
			w.step(a)
		}
		if err := w.check(); err != nil {
			return fmt.Errorf("then %s: %w", name, err)
		}
	}
	return w.deliverAll()
}

// checkRest: when everybody has done all and everything has arrived, nobody
// waits for anything. That time would end the wait is no excuse.
func (w *world) checkRest() error {
	for _, c := range []*mconn{w.f, w.a} {
		if r := w.refereeOf(c); w.errOf(c) == nil && r.open {
			return fmt.Errorf("%s waits for what nobody owes: %+v", w.name(c), *r)
		}
	}
	return nil
}

func (w *world) deliverAll() error {
	for more := true; more; {
		more = false
		for _, to := range []*mconn{w.f, w.a} {
			if len(to.waiting()) > 0 {
				more = true
				to.deliver(1)
				synctest.Wait()
				if err := w.check(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// probe is one whole exchange on a connection that says it is idle.
func (w *world) probe() error {
	if !w.s.Idle() || !w.c.Idle() {
		return fmt.Errorf("idle at the frontdoor %t, at the agent %t", w.s.Idle(), w.c.Idle())
	}
	steps := []string{"start", "write", "closewrite", "accept", "reply", "servicefin"}
	if w.http {
		steps = []string{"start", "request", "write", "accept", "reply", "answered", "close", "servicefin"}
	}
	for _, name := range steps {
		if err := w.deliverAll(); err != nil {
			return err
		}
		a := named(name)
		if !a.can(w) {
			return fmt.Errorf("%s is not possible (%s)", name, w.last)
		}
		w.step(a)
	}
	if err := w.deliverAll(); err != nil {
		return err
	}
	v := w.visit()
	if !v.over() || v.e.Outcome().Kind != Clean || len(v.service.got) != word || len(v.got) != word {
		return fmt.Errorf("over %t, %+v, %d bytes there, %d back", v.over(), v.e.Outcome(), len(v.service.got), len(v.got))
	}
	return nil
}

func named(name string) action {
	for _, a := range allActions {
		if a.name == name {
			return a
		}
	}
	panic(name)
}
