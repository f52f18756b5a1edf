package relay_test

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/clienthello"
	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 20 * time.Second

// rig is a port whose connections are handed over.
type rig struct {
	t      *testing.T
	table  *nodes.Table
	relays *relay.Relays
	port   net.Listener

	mu      sync.Mutex
	refused []string
}

func newRig(t *testing.T, maxRelays int, hand func(*relay.Relays, *clienthello.Replayed)) *rig {
	t.Helper()
	r := &rig{t: t, table: nodes.NewTable(time.Now), port: listen(t)}
	r.relays = relay.New(relay.Config{NodeID: "f1-abcd", MaxRelays: maxRelays, ConnectTimeout: limit}, relay.Deps{
		Nodes: r.table, Logger: testkit.Logger(t),
		Refused: func(why string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.refused = append(r.refused, why)
		},
	})
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := r.port.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				_, replayed, err := clienthello.Peek(context.Background(), proxyheader.NewConn(c.(*net.TCPConn)))
				if err != nil {
					_ = c.Close()
					return
				}
				hand(r.relays, replayed)
			})
		}
	})
	t.Cleanup(func() {
		_ = r.port.Close()
		tasks.Wait()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.relays.Drain(over)
	})
	return r
}

// toFrontdoor hands everything to one frontdoor.
func toFrontdoor(r *relay.Relays, c *clienthello.Replayed) { r.ToFrontdoor(c, "f2-abcd") }

func toAnyConnector(r *relay.Relays, c *clienthello.Replayed) { r.ToConnector(c, "") }

func (r *rig) whys() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.refused)
}

func (r *rig) quiet() {
	testkit.Eventually(r.t, limit, func() bool { return r.relays.Open() == 0 }, "no relay is left")
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// node is another node's relay port, which gives out what comes, behind its header.
type node struct {
	net.Listener
	conns chan *proxyheader.Conn
}

func (r *rig) node(kind nodes.Kind, id string) *node {
	n := &node{Listener: listen(r.t), conns: make(chan *proxyheader.Conn, 64)}
	r.table.Put(nodes.Node{Kind: kind, ID: id, State: nodes.Ready, RelayAddress: n.Addr().String()})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := n.Accept()
			if err != nil {
				return
			}
			conn := proxyheader.NewConn(c.(*net.TCPConn))
			if err := conn.ExpectRelayed(); err != nil {
				r.t.Errorf("what arrives has no header: %v", err)
			}
			n.conns <- conn
		}
	}()
	r.t.Cleanup(func() {
		_ = n.Close()
		<-done
	})
	return n
}

// hello is a ClientHello, as bytes.
func hello(t *testing.T) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "f2-abcd.proxy.tunnel.test"}).Handshake() }()
	defer client.Close()
	b := make([]byte, 4096)
	n, err := server.Read(b)
	fatal(t, err)
	for n < 5 || n < 5+int(b[3])<<8+int(b[4]) {
		m, err := server.Read(b[n:])
		fatal(t, err)
		n += m
	}
	return b[:n]
}

// agent connects to the port and says its hello.
func (r *rig) agent() (*net.TCPConn, []byte) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.port.Addr().String())
	fatal(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	first := hello(r.t)
	_, err = c.Write(first)
	fatal(r.t, err)
	fatal(r.t, c.SetReadDeadline(time.Now().Add(limit)))
	return c.(*net.TCPConn), first
}

// arrival is what the node gets of an agent's connection; its hello has been read.
func (n *node) arrival(t *testing.T, first []byte) *proxyheader.Conn {
	t.Helper()
	select {
	case c := <-n.conns:
		t.Cleanup(func() { _ = c.Close() })
		fatal(t, c.SetReadDeadline(time.Now().Add(limit)))
		got := make([]byte, len(first))
		for read := 0; read < len(got); {
			m, err := c.Read(got[read:])
			fatal(t, err)
			read += m
		}
		if !slices.Equal(got, first) {
			t.Fatal("the hello arrived changed")
		}
		return c
	case <-time.After(limit):
		t.Fatal("nothing arrived")
		return nil
	}
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
