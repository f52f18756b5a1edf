package proxyconn

import (
	"fmt"
	"slices"
	"strings"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// action is one step of an ordering.
type action struct {
	name string
	can  func(*world) bool
	do   func(*world)
}

const floodWords = (abortBudget + 40<<10) / word

// byVisitor is an action of the visitor under way.
func byVisitor(name string, can func(*world, *visit) bool, do func(*world, *visit)) action {
	return action{name, func(w *world) bool {
		v := w.visit()
		return v != nil && v.e != nil && !v.closed && !v.over() && !w.f.busy() && can(w, v)
	}, func(w *world) { do(w, w.visit()) }}
}

// byService is an action of the local service, or of the agent about it.
func byService(name string, can func(*visit) bool, do func(*world, *visit)) action {
	return action{name, func(w *world) bool {
		v := w.handled()
		return v != nil && v.service != nil && !v.pipeDone && !w.a.busy() && can(v)
	}, func(w *world) { do(w, w.handled()) }}
}

func decision(name string, accept bool) action {
	return action{name, func(w *world) bool {
		v := w.handled()
		return v != nil && !v.decided && v.ce.ctx.Err() == nil && !w.a.busy()
	}, func(w *world) {
		v := w.handled()
		v.decided = true
		v.decide <- accept
	}}
}

// delivery is of one frame, or of all that are under way in one read.
func delivery(name string, to func(*world) *mconn, all bool) action {
	return action{name, func(w *world) bool {
		waiting := to(w).waiting()
		return len(waiting) > 0 && (!all || len(waiting) > 1) && w.quiet(to(w), waiting, all)
	}, func(w *world) {
		n := 1
		if all {
			n = len(to(w).waiting())
		}
		to(w).deliver(n)
	}}
}

func toFrontdoor(w *world) *mconn { return w.f }
func toAgent(w *world) *mconn     { return w.a }

// quiet keeps a delivery back whose receiver would have to wait for the write
// that is held: waiting for a mutex is no rest that synctest can see.
func (w *world) quiet(to *mconn, waiting []parcel, all bool) bool {
	if v := w.handled(); to == w.a && v != nil {
		if v.service != nil && v.service.stuck() || to.hold && !v.decided && waiting[0].kind == fReset {
			return false
		}
	}
	if to.hold && all {
		return false
	}
	if !to.busy() {
		return true
	}
	p, r := waiting[0], w.refereeOf(to)
	ended := r.finSaid || r.resetSaid
	switch p.kind {
	case fData, fDelivered, fAck, fPong:
		return true
	case fFin:
		return to == w.a || ended
	case fResp:
		return ended || respCode(p) == proxyv1.Code_CODE_OK
	case fStart:
		return r.open && ended
	case fStop:
		return ended
	case fReset:
		return r.resetSaid && r.open
	default:
		return false
	}
}

func release(name string, of func(*world) *mconn) action {
	return action{name, func(w *world) bool { return of(w).busy() }, func(w *world) { of(w).release() }}
}

var allActions = slices.Concat(plainActions, strangers())

var plainActions = []action{
	{"start", func(w *world) bool {
		v := w.visit()
		return !w.f.busy() && len(w.visits) < w.exchanges && (v == nil || v.e != nil && v.over())
	}, (*world).open},
	byVisitor("write", func(w *world, v *visit) bool {
		return !v.closedWrite && !v.writing && (!w.http || v.request > 0 && !v.between)
	},
		func(w *world, v *visit) { w.write(v, 1) }),
	byVisitor("flood", func(w *world, v *visit) bool { return !v.closedWrite && !v.writing },
		func(w *world, v *visit) { w.write(v, floodWords) }),
	byVisitor("closewrite", func(_ *world, v *visit) bool { return !v.closedWrite && !v.writing }, func(w *world, v *visit) {
		v.closedWrite = true
		w.tasks.Go(func() { _ = v.e.CloseWrite() })
	}),
	byVisitor("closeread", func(_ *world, v *visit) bool { return !v.closedRead }, func(_ *world, v *visit) {
		v.closedRead = true
		v.e.CloseRead()
	}),
	byVisitor("reset", func(_ *world, v *visit) bool { return !v.aborted }, func(_ *world, v *visit) {
		v.aborted = true
		v.e.Reset(proxyv1.Code_CODE_LIMIT)
	}),
	byVisitor("close", func(*world, *visit) bool { return true }, func(_ *world, v *visit) {
		v.closed = true
		_ = v.e.Close()
	}),
	byVisitor("request", func(w *world, v *visit) bool { return w.http && v.request < 2 }, (*world).request),
	byVisitor("answered", func(w *world, v *visit) bool { return w.http && v.request > 0 && len(v.got) > 0 },
		(*world).answered),
	{"fretire", func(w *world) bool { return !w.f.busy() && !w.retired }, func(w *world) {
		w.retired = true
		w.s.Retire()
	}},
	{"fping", func(w *world) bool { return !w.f.busy() }, func(w *world) {
		w.tasks.Go(func() { w.pinged(w.s.Ping(w.ctx)) })
	}},

	decision("accept", true),
	decision("refuse", false),
	byService("reply", func(v *visit) bool { return !v.service.fin && !v.service.rst }, func(w *world, v *visit) { w.reply(v, 1) }),
	byService("replyflood", func(v *visit) bool { return !v.service.fin && !v.service.rst },
		func(w *world, v *visit) { w.reply(v, floodWords) }),
	byService("servicefin", func(v *visit) bool { return !v.service.fin && !v.service.rst },
		func(_ *world, v *visit) { v.service.change(func() { v.service.fin = true }) }),
	byService("servicedeaf", func(v *visit) bool { return !v.service.deaf && !v.service.rst },
		func(_ *world, v *visit) { v.service.change(func() { v.service.deaf = true }) }),
	byService("servicereset", func(v *visit) bool { return !v.service.rst }, func(_ *world, v *visit) {
		v.resets = true
		v.service.change(func() { v.service.rst = true })
	}),
	byService("agentreset", func(*visit) bool { return true }, func(_ *world, v *visit) {
		v.resets = true
		v.ce.Reset(proxyv1.Code_CODE_TUNNEL_CLOSED)
	}),
	byService("serviceready", func(v *visit) bool { return v.service.stuck() },
		func(_ *world, v *visit) { v.service.change(func() { v.service.slow = false }) }),
	{"aretire", func(w *world) bool { return !w.a.busy() }, func(w *world) { w.c.Retire() }},
	{"aping", func(w *world) bool { return !w.a.busy() }, func(w *world) {
		w.tasks.Go(func() { w.pinged(w.c.Ping(w.ctx)) })
	}},

	delivery("to frontdoor", toFrontdoor, false),
	delivery("to agent", toAgent, false),
	delivery("all to frontdoor", toFrontdoor, true),
	delivery("all to agent", toAgent, true),
	release("frontdoor wrote", toFrontdoor),
	release("agent wrote", toAgent),
	{"cut", func(w *world) bool { return !w.cut }, func(w *world) {
		w.cut = true
		w.mayDie[w.f], w.mayDie[w.a] = true, true
		w.f.cut()
	}},
	{"tick", func(w *world) bool { return !w.f.busy() && !w.a.busy() }, (*world).tick},
}

// request begins the next HTTP request, if the exchange lets it.
func (w *world) request(v *visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.e.BeginRequest(&proxyv1.Req{}) == nil {
		v.request++
		v.between = false
	}
}

// answered says that the answer to the request was read whole, if any was.
func (w *world) answered(v *visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.e.EndRequest()
	v.e.s.mu.Lock()
	defer v.e.s.mu.Unlock()
	v.between = v.e.requestDone
}

// strangers are actions that inject frames nobody sent: those of an exchange
// before or behind the one under way, or of this one but out of turn.
func strangers() []action {
	var all []action
	for _, kind := range []proxyv1.FrameType{fStart, fAck, fResp, fFin, fStop, fReset, fData} {
		for off := -1; off <= 1; off++ {
			if kind == fData && off != 0 {
				continue
			}
			all = append(all, stranger("agent", toAgent, kind, off), stranger("frontdoor", toFrontdoor, kind, off))
		}
	}
	return all
}

func stranger(at string, to func(*world) *mconn, kind proxyv1.FrameType, off int) action {
	forged := func(w *world) parcel {
		n := uint64(int(w.refereeOf(to(w)).n) + off)
		var deliveredSoFar uint64
		if v := w.visit(); v != nil && v.e != nil {
			deliveredSoFar, _ = v.e.Delivered()
		}
		switch kind {
		case fStart:
			return parse(begin(n, protoTCP))
		case fAck:
			return parse(ack(n))
		case fResp:
			return parse(resp(n, proxyv1.Code_CODE_OK))
		case fFin:
			return parse(fin(n, deliveredSoFar))
		case fStop:
			return parse(stop(n))
		case fReset:
			return parse(reset(n, deliveredSoFar))
		default:
			return parse(data(strings.Repeat("?", word)))
		}
	}
	return action{fmt.Sprintf("stranger to %s: %v%+d", at, kind, off), func(w *world) bool {
		r, c := w.refereeOf(to(w)), to(w)
		p := forged(w)
		if w.errOf(c) != nil || c.busy() || int(r.n)+off < 0 || w.used["stranger"] > 0 {
			return false
		}
		v := r.judge(p)
		return v == fatal || v == ignored
	}, func(w *world) {
		w.used["stranger"]++
		p := forged(w)
		to(w).inject(p)
	}}
}

func (w *world) pinged(_ any, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pings = append(w.pings, err)
}
