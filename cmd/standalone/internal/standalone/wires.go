package standalone

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

// wires join the parts: each service has a listener inside the process, and is
// called with the caller's own identity, as it would be over the network.
type wires struct {
	pki     *pki
	tracing *tracing
	servers map[string]*rpc.Memory
	agents  *handover

	identities map[string]identity

	mu    sync.Mutex
	conns []*grpc.ClientConn
}

func newWires(p *pki, t *tracing) (*wires, error) {
	w := &wires{
		pki: p, tracing: t, agents: newHandover(),
		servers: map[string]*rpc.Memory{
			tlsconf.RoleAuth: rpc.NewMemory(), tlsconf.RoleRegistry: rpc.NewMemory(), tlsconf.RoleConnector: rpc.NewMemory(),
		},
		identities: map[string]identity{},
	}
	for _, role := range []string{tlsconf.RoleAuth, tlsconf.RoleRegistry, tlsconf.RoleConnector, tlsconf.RoleFrontdoor, tlsconf.RoleAdmin} {
		id, err := p.identity(role)
		if err != nil {
			return nil, err
		}
		w.identities[role] = id
	}
	return w, nil
}

// dial connects one part to another; the connection is closed with the wires.
func (w *wires) dial(from, to string) (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: to, Dialer: w.servers[to].Dial,
		TLS: w.identities[from].client(to), Telemetry: w.tracing.parts[from],
	})
	if err != nil {
		return nil, fmt.Errorf("wire %s to %s: %w", from, to, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	return conn, nil
}

// tokens is what an administrator calls.
func (w *wires) tokens() (authv1.TokenServiceClient, error) {
	conn, err := w.dial(tlsconf.RoleAdmin, tlsconf.RoleAuth)
	return authv1.NewTokenServiceClient(conn), err
}

func (w *wires) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		_ = conn.Close()
	}
	for _, server := range w.servers {
		_ = server.Close()
	}
	_ = w.agents.Close()
}

// handover is a listener for connections that the frontdoor has accepted on the
// shared port and recognized, by their server name, as control connections.
type handover struct {
	conns chan net.Conn
	done  context.Context
	end   context.CancelFunc
}

func newHandover() *handover {
	h := &handover{conns: make(chan net.Conn)}
	h.done, h.end = context.WithCancel(context.Background())
	return h
}

// hand gives a connection to whoever accepts, or closes it if nobody does any
// more.
func (h *handover) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done.Done():
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.end()
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return &net.UnixAddr{Name: "frontdoor", Net: "handover"} }
