// Package relay hands agents' connections over to the nodes that they are for.
// It moves the bytes as they are: nothing is decrypted, and nothing is said but
// from where the agent has come.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialback/dialback/internal/clienthello"
	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
)

// Why a connection was not handed over.
const (
	UnknownName = "unknown_name"
	Limit       = "limit"
	Unreachable = "unreachable"
)

// maxTries is how many connectors are tried for an agent that wants any.
const maxTries = 3

// Config bounds what is handed over.
type Config struct {
	// NodeID is this frontdoor's, which the others are told.
	NodeID string
	// MaxRelays bounds the connections under way; each is two files.
	MaxRelays int
	// ConnectTimeout is how long a node may take to be connected.
	ConnectTimeout time.Duration
}

// Deps are what relays need.
type Deps struct {
	// Nodes are the only source of addresses: never what an agent says.
	Nodes *nodes.Table
	// Refused is told why a connection was not handed over.
	Refused func(why string)
	Logger  *slog.Logger
}

// Relays are the connections that are handed over.
type Relays struct {
	cfg   Config
	deps  Deps
	bytes atomic.Uint64

	mu     sync.Mutex
	count  int // those that are being connected, too
	open   map[*pair]struct{}
	closed bool
	quiet  chan struct{} // closed when none is left; nil: nobody waits
	tasks  sync.WaitGroup
}

// New returns relays; Drain ends them.
func New(cfg Config, deps Deps) *Relays {
	return &Relays{cfg: cfg, deps: deps, open: map[*pair]struct{}{}}
}

// Open is how many connections are handed over, or about to be.
func (r *Relays) Open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// Bytes is how many bytes have been moved, both ways.
func (r *Relays) Bytes() uint64 { return r.bytes.Load() }

// ToFrontdoor hands a connection over to another frontdoor.
func (r *Relays) ToFrontdoor(c *clienthello.Replayed, id string) {
	r.hand(c, r.deps.Nodes.Frontdoor(id))
}

// ToConnector hands a connection over to a connector; id "": to any.
func (r *Relays) ToConnector(c *clienthello.Replayed, id string) {
	if id == "" {
		r.hand(c, r.anyConnectors()...)
		return
	}
	r.hand(c, r.deps.Nodes.Connector(id))
}

// anyConnectors returns connectors in the order in which they are to be tried:
// those that take sessions in a random one, so that agents spread.
func (r *Relays) anyConnectors() []*nodes.Node {
	ready, others := r.deps.Nodes.Connectors()
	list := append(shuffled(ready), shuffled(others)...)
	list = slices.DeleteFunc(list, func(n *nodes.Node) bool { return n.RelayAddress == "" })
	return list[:min(len(list), maxTries)]
}

func shuffled(list []*nodes.Node) []*nodes.Node {
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] }) // #nosec G404 -- to spread
	return list
}

// hand connects the first of the nodes that can be, and lets the bytes pass.
func (r *Relays) hand(c *clienthello.Replayed, to ...*nodes.Node) {
	to = slices.DeleteFunc(to, func(n *nodes.Node) bool { return n == nil || n.RelayAddress == "" })
	agent, ok := c.Conn.(front)
	switch {
	case len(to) == 0 || !ok:
		r.deps.Refused(UnknownName)
		clienthello.Refuse(c)
		return
	case !r.begin():
		r.deps.Refused(Limit)
		reset(agent)
		return
	}
	node, err := r.connect(c, to)
	if err != nil {
		r.end(nil)
		r.deps.Refused(Unreachable)
		r.deps.Logger.Warn("an agent's connection could not be handed over", "node", to[0].ID, "error", err)
		reset(agent)
		return
	}
	r.pass(&pair{agent: agent, node: node, bytes: &r.bytes})
}

// connect returns a connection to a node that has been told of the agent and has
// what the agent has said so far.
func (r *Relays) connect(c *clienthello.Replayed, to []*nodes.Node) (*net.TCPConn, error) {
	header, err := proxyheader.Format(c.RemoteAddr(), c.LocalAddr(), r.cfg.NodeID)
	if err != nil {
		return nil, err
	}
	first := slices.Concat(header, c.Head())
	var failures []error
	for _, n := range to {
		conn, err := r.dial(n.RelayAddress, first)
		if err == nil {
			return conn, nil
		}
		r.deps.Nodes.Unreachable(n)
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func (r *Relays) dial(address string, first []byte) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.ConnectTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3,
	}}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	deadline, _ := ctx.Deadline()
	err = conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = conn.Write(first)
	}
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (r *Relays) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.count >= r.cfg.MaxRelays {
		return false
	}
	r.count++
	return true
}

func (r *Relays) end(p *pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, p)
	r.count--
	if r.count == 0 && r.quiet != nil {
		close(r.quiet)
		r.quiet = nil
	}
}

// pass moves bytes until both directions have ended.
func (r *Relays) pass(p *pair) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		p.abort()
		r.end(p)
		return
	}
	r.open[p] = struct{}{}
	r.tasks.Go(func() {
		p.run()
		r.end(p)
	})
	r.mu.Unlock()
}

// Drain lets the connections end by themselves until ctx does, and ends what is
// left. None is taken any more after that.
func (r *Relays) Drain(ctx context.Context) error {
	select {
	case <-r.none():
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.closed = true
	for p := range r.open {
		p.abort()
	}
	r.mu.Unlock()
	r.tasks.Wait()
	return nil
}

// none is closed when no connection is left.
func (r *Relays) none() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	quiet := make(chan struct{})
	if r.count == 0 {
		close(quiet)
	} else {
		r.quiet = quiet
	}
	return quiet
}
