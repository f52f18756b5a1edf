package agent

import (
	"context"
	"sync"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent/dialer"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/tlsconf"
)

// attachment is one session and the tunnels on it. An agent has one; while it
// moves from one connector to another it has two.
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
	closed  map[string]chan *agentv1.TunnelClosed // by tunnel id; the map never changes
}

// attach opens a session and asks for the tunnels on it.
func (r *run) attach(ctx context.Context, serverName string) (*attachment, error) {
	a := &attachment{
		run:     r,
		settled: make(chan struct{}),
		away:    make(chan *agentv1.GoAway, 1),
		closed:  map[string]chan *agentv1.TunnelClosed{},
	}
	for _, t := range r.tunnels {
		a.closed[t.id] = make(chan *agentv1.TunnelClosed, 1)
	}
	to := session.Target{Address: r.config.Address, ServerName: serverName, Pins: r.config.Pins}
	s, err := session.Open(ctx, to, r.auth(), a)
	if err != nil {
		return nil, err
	}
	a.session = s
	a.asking, a.giveUp = context.WithCancelCause(ctx)
	r.adopt(s.Welcome)
	r.spans.Use(s)
	a.bindAll()
	return a, nil
}

// close ends the session and waits for all that belongs to it.
func (a *attachment) close() {
	a.giveUp(session.ErrClosed)
	a.binders.Wait()
	a.session.Close()
}

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
func (a *attachment) GoAway(_ *session.Session, m *agentv1.GoAway) {
	select {
	case a.away <- m:
	default: // it is going already
	}
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
