package relay

import (
	"net"
	"sync"
	"sync/atomic"
)

// front is an agent's connection as it was accepted. Closing it says that it does
// not count any more, so that it, and not the socket in it, is closed.
type front interface {
	TCP() *net.TCPConn
	Close() error
}

// pair is an agent's connection and ours to the node it is for: two files, and
// nothing else while no byte moves.
type pair struct {
	agent front
	node  *net.TCPConn
	bytes *atomic.Uint64
	once  sync.Once
}

// run moves bytes both ways. An end of one direction is passed on, the other one
// lives; a reset is passed on as a reset.
func (p *pair) run() {
	var back sync.WaitGroup
	back.Go(func() { p.move(p.agent.TCP(), p.node) })
	p.move(p.node, p.agent.TCP())
	back.Wait()
	p.once.Do(func() {
		_ = p.node.Close()
		_ = p.agent.Close()
	})
}

func (p *pair) move(to, from *net.TCPConn) {
	err := pump(to, from, func(n int64) { p.bytes.Add(uint64(n)) }) // #nosec G115 -- never negative
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		p.abort()
	}
}

// abort resets both connections: neither end may take what it has got for all
// that there was.
func (p *pair) abort() {
	p.once.Do(func() {
		_ = p.node.SetLinger(0)
		_ = p.node.Close()
		reset(p.agent)
	})
}

func reset(c front) {
	_ = c.TCP().SetLinger(0)
	_ = c.Close()
}
