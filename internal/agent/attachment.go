package agent

import (
	"context"
	"sync"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent/dialer"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/tlsconf"
)

// attachment is one session and the tunnels on it. An agent has several where
// there are several connectors: each serves all of its tunnels, so the loss of
// one loses nothing.
type attachment struct {
	run     *run
	session *session.Session

	// asking is the life of the goroutines that keep the tunnels bound.
	asking  context.Context
	giveUp  context.CancelCauseFunc
	binders sync.WaitGroup
	// settled is closed when every tunnel has had its first answer.
	settled chan struct{}
	away    chan *agentv1.GoAway
	peers   chan *agentv1.Connectors
	closed  map[string]chan *agentv1.TunnelClosed // by tunnel id; the map never changes
	// closing ends the goroutine that tells the news.
	closing  chan struct{}
	reporter sync.WaitGroup

	// The rest belongs to the goroutine of run.
	joined time.Time
	ready  time.Time     // since when it is settled; zero: it is not
	others []string      // labels of connectors that take sessions, as this one knows them
	spread time.Duration // over which agents are to come to a new one
	goAt   time.Time     // when to leave, as it was asked; zero: it stays
}

// open makes an attachment that asks for no tunnels yet.
func (r *run) open(ctx context.Context, serverName string) (*attachment, error) {
	a := &attachment{
		run:     r,
		settled: make(chan struct{}),
		away:    make(chan *agentv1.GoAway, 1),
		peers:   make(chan *agentv1.Connectors, 1),
		closed:  map[string]chan *agentv1.TunnelClosed{},
		closing: make(chan struct{}),
		spread:  defaultSpread,
	}
	for _, t := range r.tunnels {
		a.closed[t.id] = make(chan *agentv1.TunnelClosed, 1)
	}
	a.asking, a.giveUp = context.WithCancelCause(context.WithoutCancel(ctx))
	to := session.Target{Address: r.config.Address, ServerName: serverName, Pins: r.config.Pins}
	var err error
	if a.session, err = session.Open(ctx, to, r.auth(), a); err != nil {
		a.giveUp(err)
		return nil, err
	}
	return a, nil
}

// start has the attachment serve, and tell what happens to it.
func (a *attachment) start() {
	a.bindAll()
	a.reporter.Go(a.report)
}

// close ends the session in order and waits for all that belongs to it.
func (a *attachment) close() {
	close(a.closing)
	a.giveUp(session.ErrClosed)
	a.binders.Wait()
	a.reporter.Wait()
	a.session.Close()
}

// closeTunnels gives the tunnels' names back and waits until the server has
// heard.
func (a *attachment) closeTunnels(ctx context.Context) {
	a.giveUp(session.ErrClosed)
	a.binders.Wait()
	var tasks sync.WaitGroup
	for id := range a.closed {
		tasks.Go(func() { a.closeTunnel(ctx, id) })
	}
	tasks.Wait()
}

func (a *attachment) closeTunnel(ctx context.Context, id string) {
	if a.session.CloseTunnel(ctx, id) != nil {
		return
	}
	select {
	case <-a.closed[id]:
	case <-a.session.Ended():
	case <-ctx.Done():
	}
}

func (a *attachment) connector() string { return a.session.Welcome.GetConnectorId() }

// Dial is called by the session.
func (a *attachment) Dial(s *session.Session, d *agentv1.Dial) {
	a.run.dialer.Dial(dialer.Want{
		Dial:    d,
		Control: s.Remote(),
		Pins:    proxyPins(a.run.config.Pins, s.Welcome.GetProxyCaPins()),
		Failed:  func(reason agentv1.FailReason) { s.ProxyFailed(d.GetTicket(), reason) },
	})
}

// GoAway is called by the session.
func (a *attachment) GoAway(_ *session.Session, m *agentv1.GoAway) { latest(a.away, m) }

// Connectors is called by the session.
func (a *attachment) Connectors(_ *session.Session, m *agentv1.Connectors) { latest(a.peers, m) }

// latest puts a message in place of one that nobody has taken yet. It is called
// by the session's reader alone.
func latest[M any](box chan M, m M) {
	select {
	case <-box:
	default:
	}
	box <- m
}

// TunnelClosed is called by the session.
func (a *attachment) TunnelClosed(_ *session.Session, m *agentv1.TunnelClosed) {
	select {
	case a.closed[m.GetTunnelId()] <- m: // nil for an unknown id: never ready
	default:
	}
}

// proxyPins are the authorities for proxy connections: the configured ones and,
// because the control connection was verified by the configuration, those that
// came over it. So an authority can be replaced without touching every agent.
func proxyPins(configured []tlsconf.Pin, sent [][]byte) []tlsconf.Pin {
	const maxSent = 8
	pins := append([]tlsconf.Pin(nil), configured...)
	for _, raw := range sent[:min(len(sent), maxSent)] {
		var pin tlsconf.Pin
		if len(raw) == len(pin) {
			pins = append(pins, tlsconf.Pin(raw))
		}
	}
	return pins
}
