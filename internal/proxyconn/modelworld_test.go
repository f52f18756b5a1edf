package proxyconn

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// visit is one exchange: what its visitor and its local service did and saw.
type visit struct {
	n int

	mu      sync.Mutex
	e       *ServerExchange
	wrote   []byte
	got     []byte
	readErr error // the reader has ended
	foreign bool  // an answer to one request was read in another
	request int   // number of the HTTP request under way
	between bool  // it is answered, the next has not begun
	writing bool  // a Write has not returned

	closedWrite, closedRead, closed, aborted bool // by the visitor

	ce       *ClientExchange
	decide   chan bool
	decided  bool
	service  *mservice
	replied  []byte
	resets   bool // by the service or the agent
	pipeDone bool
	pipeErr  error

	answered    map[int]bool // requests that the service has answered
	undelivered map[int]bool // requests (0: the exchange) said not to be delivered
	judged      bool         // the frontdoor's outcome was looked at
}

func (v *visit) over() bool {
	select {
	case <-v.e.End():
		return true
	default:
		return false
	}
}

// world is both real ends of one connection, and everybody around them.
type world struct {
	http      bool
	exchanges int // as many may begin
	s         *Server
	c         *Client
	f, a      *mconn // the frontdoor's end, the agent's

	frontdoor, agent *referee
	mayDie           map[*mconn]bool
	mustDie          map[*mconn]string

	mu     sync.Mutex
	visits []*visit
	used   map[string]int
	pings  []error
	last   string // answers the newest Start got, if it was refused

	ctx     context.Context
	cancel  context.CancelFunc
	served  chan error
	tasks   sync.WaitGroup
	retired bool
	cut     bool
	slow    bool // new services' writes do not return
}

func newWorld(t *testing.T, sc *scenario) *world {
	w := &world{
		http: sc.http, exchanges: sc.exchanges, slow: sc.slow, frontdoor: &referee{http: sc.http}, agent: &referee{http: sc.http, agent: true},
		mayDie: map[*mconn]bool{}, mustDie: map[*mconn]string{}, used: map[string]int{}, served: make(chan error, 1),
	}
	w.f, w.a = newWire()
	for _, c := range []*mconn{w.f, w.a} {
		r := w.refereeOf(c)
		c.said, c.spoke, c.heard = r.said, r.spoke, func(p parcel) { w.heard(c, p) }
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	var err error
	if w.c, err = Register(w.ctx, w.a, &proxyv1.RegProxy{Ticket: ticket}, Options{}); err != nil {
		t.Fatal(err)
	}
	if w.s, _, err = Accept(w.ctx, w.f, Options{}); err != nil {
		t.Fatal(err)
	}
	w.f.raw, w.a.raw = false, false
	w.f.hold, w.a.hold = sc.holdFrontdoor, sc.holdAgent
	go func() { w.served <- w.c.Serve(w.ctx, w.serve) }()
	synctest.Wait()
	return w
}

// visit is the newest exchange, nil before the first.
func (w *world) visit() *visit {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.visits) == 0 {
		return nil
	}
	return w.visits[len(w.visits)-1]
}

// handled is the newest exchange that the agent has seen.
func (w *world) handled() *visit {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.visits) - 1; i >= 0; i-- {
		if w.visits[i].ce != nil {
			return w.visits[i]
		}
	}
	return nil
}

// serve is the agent's handler.
func (w *world) serve(ctx context.Context, ce *ClientExchange) {
	w.mu.Lock()
	n := ce.Start().GetExchange()
	if n == 0 || n > uint64(len(w.visits)) {
		w.mu.Unlock()
		return // nobody's: the referee knows
	}
	v := w.visits[n-1]
	v.ce = ce
	w.mu.Unlock()
	select {
	case accept := <-v.decide:
		if !accept {
			_ = ce.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
			return
		}
	case <-ctx.Done():
		return
	}
	if ce.Accept(0) != nil {
		return
	}
	service := newService()
	w.mu.Lock()
	service.slow = w.slow
	v.service = service
	w.mu.Unlock()
	err := ce.Pipe(service, nil)
	w.mu.Lock()
	v.pipeDone, v.pipeErr = true, err
	w.mu.Unlock()
}

// open starts a visit and its reader.
func (w *world) open() {
	w.mu.Lock()
	v := &visit{n: len(w.visits) + 1, decide: make(chan bool, 1), answered: map[int]bool{}, undelivered: map[int]bool{}}
	w.visits = append(w.visits, v)
	w.mu.Unlock()
	w.tasks.Go(func() {
		protocol := protoTCP
		if w.http {
			protocol = protoHTTP
		}
		e, err := w.s.Start(w.ctx, &proxyv1.Start{TunnelId: "t", Protocol: protocol})
		if err != nil {
			w.mu.Lock()
			w.visits = w.visits[:len(w.visits)-1]
			w.last = err.Error()
			w.mu.Unlock()
			return
		}
		v.mu.Lock()
		v.e = e
		v.mu.Unlock()
		v.read(e)
	})
}

// read is the visitor's reading side. An exchange has to have one.
func (v *visit) read(e *ServerExchange) {
	buf := make([]byte, MaxPayload)
	for {
		n, err := e.Read(buf)
		v.mu.Lock()
		if n > 0 && e.http && (v.between || int(buf[8]) != v.request) {
			v.foreign = true
		}
		v.got = append(v.got, buf[:n]...)
		v.readErr = err
		v.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// write is the visitor's next word; it says whose, and which it is.
func (w *world) write(v *visit, words int) {
	b := w.words(v, 1, v.request, len(v.wrote)/word, words)
	v.wrote = append(v.wrote, b...)
	v.writing = true
	w.tasks.Go(func() {
		_, _ = v.e.Write(b)
		v.mu.Lock()
		v.writing = false
		v.mu.Unlock()
	})
}

func (w *world) reply(v *visit, words int) {
	v.service.change(func() {
		request := v.service.asked
		if w.http && (request == 0 || v.answered[request]) {
			w.mayDie[w.f] = true // nobody asked for this
		}
		v.answered[request] = true
		b := w.words(v, 2, request, len(v.replied)/word, words)
		v.replied = append(v.replied, b...)
		v.service.reply = append(v.service.reply, b...)
	})
}

func (w *world) words(v *visit, side, request, from, count int) []byte {
	b := pattern(v.n, side, from+count)[from*word:]
	for i := 0; i < len(b); i += word {
		b[i+8] = byte(request)
	}
	return b
}

// step does one action and lets everything come to rest.
func (w *world) step(a action) {
	w.used[a.name]++
	a.do(w)
	synctest.Wait()
}

// heard remembers what an end has to do with a frame that it gets.
func (w *world) heard(to *mconn, p parcel) {
	if p.bytes == nil {
		w.mayDie[to] = true
	} else if w.refereeOf(to).heard(p) == fatal {
		w.mayDie[to] = true
		w.mustDie[to] = p.kind.String()
	}
}

func (w *world) refereeOf(c *mconn) *referee {
	if c == w.f {
		return w.frontdoor
	}
	return w.agent
}

func (w *world) errOf(c *mconn) error {
	if c == w.f {
		return w.s.Err()
	}
	return w.c.Err()
}

// tick lets more time pass than any end waits for another.
func (w *world) tick() {
	for _, c := range []*mconn{w.f, w.a} {
		r := w.refereeOf(c)
		if r.open && (r.resetSaid || c == w.f && !r.ack) {
			w.mayDie[c] = true
			w.mustDie[c] = "silence"
		}
	}
	if v := w.visit(); v != nil && v.e != nil && v.closed && !v.over() {
		w.mayDie[w.f] = true
	}
	<-time.After(10 * time.Second) // on synctest's clock
}

// close ends the world and everything in it.
func (w *world) close() {
	w.calm()
	w.s.Close()
	w.cancel()
	if err := <-w.served; err == nil && !errors.Is(w.c.Err(), context.Canceled) && w.c.Err() == nil {
		panic("Serve returned and the connection lives")
	}
	w.tasks.Wait()
}
