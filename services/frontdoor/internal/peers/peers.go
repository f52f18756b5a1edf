// Package peers keeps connections to the other frontdoors, for questions that
// only they can answer.
package peers

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"sync"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
)

// Peers are the other frontdoors that can be asked.
type Peers struct {
	own  string
	list func() []*nodes.Node
	dial func(address string) (grpc.ClientConnInterface, error)
	log  *slog.Logger

	mu    sync.Mutex
	conns map[string]grpc.ClientConnInterface // by id: its address never changes
}

// New returns the peers of the frontdoor with an id; list answers all frontdoors
// of the node table.
func New(own string, list func() []*nodes.Node, dial func(address string) (grpc.ClientConnInterface, error), log *slog.Logger) *Peers {
	return &Peers{own: own, list: list, dial: dial, log: log, conns: map[string]grpc.ClientConnInterface{}}
}

// Conns returns a connection to each frontdoor that says where it can be asked.
// Those to frontdoors that are gone are closed.
func (p *Peers) Conns() map[string]grpc.ClientConnInterface {
	p.mu.Lock()
	defer p.mu.Unlock()
	current := map[string]grpc.ClientConnInterface{}
	for _, n := range p.list() {
		if n.ID == p.own || n.Address == "" {
			continue
		}
		conn := p.conns[n.ID]
		if conn == nil {
			var err error
			if conn, err = p.dial(n.Address); err != nil {
				p.log.Warn("a frontdoor cannot be asked", "frontdoor", n.ID, "address", n.Address, "error", err)
				continue
			}
		}
		delete(p.conns, n.ID)
		current[n.ID] = conn
	}
	_ = p.closeLocked() // of those that are left
	p.conns = current
	return maps.Clone(current)
}

// Close closes all connections.
func (p *Peers) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closeLocked()
}

func (p *Peers) closeLocked() (err error) {
	for id, conn := range p.conns {
		if c, ok := conn.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		delete(p.conns, id)
	}
	return err
}
