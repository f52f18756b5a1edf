package controlplane

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/tlsconf"
)

// Connector is a registered connector, as the registry sees one: it renews its
// lease until it is closed, or killed.
type Connector struct {
	Name, ID     string
	Registration int64
	Nodes        registryv1.NodeServiceClient
	Directory    registryv1.DirectoryServiceClient

	conn  *grpc.ClientConn
	close context.CancelFunc
	ended chan struct{}
	err   error // of the first beat that failed; valid when ended is closed
}

// Connector registers one.
func (p *Plane) Connector(ctx context.Context, name string) (*Connector, error) {
	conn, err := p.Dial(tlsconf.RoleConnector, name)
	if err != nil {
		return nil, err
	}
	c := &Connector{
		Name: name, ID: name + "-" + RandomHex(4), conn: conn, ended: make(chan struct{}),
		Nodes: registryv1.NewNodeServiceClient(conn), Directory: registryv1.NewDirectoryServiceClient(conn),
	}
	resp, err := c.Nodes.RegisterNode(ctx, &registryv1.RegisterNodeRequest{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_CONNECTOR, Id: c.ID, State: registryv1.NodeState_NODE_STATE_READY, Address: "127.0.0.1:1",
	}})
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("register %s: %w", name, err)
	}
	c.Registration = resp.GetRegistration()
	ctx, c.close = context.WithCancel(context.WithoutCancel(ctx))
	go c.beat(ctx, resp.GetLeaseTtl().AsDuration()/3)
	return c, nil
}

func (c *Connector) beat(ctx context.Context, every time.Duration) {
	defer close(c.ended)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, err := c.Nodes.Heartbeat(ctx, &registryv1.HeartbeatRequest{
			NodeId: c.ID, Registration: c.Registration, State: registryv1.NodeState_NODE_STATE_READY,
		}); err != nil && ctx.Err() == nil {
			c.err = fmt.Errorf("beat of %s: %w", c.ID, err)
			return
		}
	}
}

// Kill ends it without a word, as the death of its process would.
func (c *Connector) Kill() error {
	c.close()
	<-c.ended
	_ = c.conn.Close()
	return c.err
}

// Tunnel is what an agent asks for.
type Tunnel struct {
	Assertion *authv1.SignedAssertion
	ID        string // of the tunnel
	Session   string
	Hostname  string // empty: a random one
}

// Bind binds a tunnel.
func (c *Connector) Bind(ctx context.Context, t Tunnel) (*registryv1.BindResponse, error) {
	req := &registryv1.BindRequest{
		Assertion: t.Assertion, Registration: c.Registration, NodeId: c.ID, SessionId: t.Session, TunnelId: t.ID,
		Protocol: proxyv1.Protocol_PROTOCOL_HTTP, ClientAddress: "127.0.0.1:1",
	}
	if t.Hostname != "" {
		req.Name = &registryv1.BindRequest_Hostname{Hostname: t.Hostname}
	}
	return c.Directory.Bind(ctx, req)
}
