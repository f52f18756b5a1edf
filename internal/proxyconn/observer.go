package proxyconn

import (
	"sync"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// RequestObserver is told of the HTTP requests of an exchange, so that the
// agent can make spans without parsing HTTP. Calls come one at a time and must
// not block.
type RequestObserver interface {
	// RequestBegin: a request is about to be forwarded. Its number is above 1 if
	// the private connection has been used before.
	RequestBegin(req *proxyv1.Req)
	// ReplyBegin: the local service has sent the first byte of its reply.
	ReplyBegin()
	// RequestEnd: the next request begins, or the exchange has ended.
	RequestEnd(stats RequestStats)
}

// RequestStats are of one HTTP request.
type RequestStats struct {
	// In is how many bytes went to the local service, Out how many came back.
	In, Out uint64
	// Err is why the exchange ended under the request; nil if it did not.
	Err error
}

// reporter turns what an exchange sees into calls of an observer.
type reporter struct {
	mu       sync.Mutex
	observer RequestObserver
	open     bool
	replied  bool
	in       uint64 // delivered when the request began
	out      uint64
}

// begin reports a request; in is how much was delivered before it.
func (r *reporter) begin(req *proxyv1.Req, in uint64) {
	r.finish(RequestStats{In: in})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.observer == nil {
		return
	}
	r.open, r.replied, r.in, r.out = true, false, in, 0
	r.observer.RequestBegin(req)
}

// reply counts n bytes of the local service.
func (r *reporter) reply(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out += uint64(n)
	if r.open && !r.replied {
		r.replied = true
		r.observer.ReplyBegin()
	}
}

// finish ends the request that is open; stats.In counts from the beginning of
// the exchange.
func (r *reporter) finish(stats RequestStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return
	}
	r.open = false
	stats.In -= r.in
	stats.Out = r.out
	r.observer.RequestEnd(stats)
}

// beginRequest is called, with sink held, when a request is about to be
// forwarded.
func (e *ClientExchange) beginRequest(req *proxyv1.Req) {
	e.fresh = req.GetNumber() > 1
	e.c.mu.Lock()
	delivered := e.delivered
	e.c.mu.Unlock()
	e.report.begin(req, delivered)
}
