package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	connectTimeout   = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	authTimeout      = 20 * time.Second
	// protocolVersion is the highest that this agent speaks.
	protocolVersion = 1
)

// Target is the server that a session is opened to.
type Target struct {
	// Address is "host:port".
	Address string
	// ServerName is "control.<domain>", or a particular connector's.
	ServerName string
	// Pins of the authorities that may sign its certificate; none: the system's.
	Pins []tlsconf.Pin
}

// Open connects, verifies the server and authenticates. Its error is a
// *ConnectError or what the server answered. The session lives until it is
// closed or lost, whatever becomes of ctx.
func Open(ctx context.Context, to Target, auth *agentv1.Auth, h Handler) (*Session, error) {
	conn, err := dial(ctx, to)
	if err != nil {
		return nil, &ConnectError{Address: to.Address, ServerName: to.ServerName, Err: err}
	}
	remote := conn.RemoteAddr()
	cc, err := rpc.Dial(rpc.ClientConfig{Target: to.ServerName, Dialer: once(conn)})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s, err := authenticate(ctx, cc, auth)
	if err != nil {
		return nil, errors.Join(err, closeAll(cc, conn))
	}
	s.remote = remote
	s.start(h)
	return s, nil
}

// dial makes the verified connection itself, rather than have gRPC do it: so a
// failure says what failed, and a session is one connection and never silently
// another.
func dial(ctx context.Context, to Target) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}
	raw, err := dialer.DialContext(ctx, "tcp", to.Address)
	if err != nil {
		return nil, err
	}
	config := tlsconf.PinnedClient(to.ServerName, to.Pins)
	config.NextProtos = []string{"h2"}
	conn := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// once hands out the connection that stands, and no other.
func once(conn net.Conn) func(context.Context, string) (net.Conn, error) {
	var used atomic.Bool
	return func(context.Context, string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, net.ErrClosed
		}
		return conn, nil
	}
}

// closeAll closes the connection too: gRPC may not have asked for it yet.
func closeAll(cc *grpc.ClientConn, conn net.Conn) error {
	err := cc.Close()
	if e := conn.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func authenticate(ctx context.Context, cc *grpc.ClientConn, auth *agentv1.Auth) (*Session, error) {
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	// Until AuthResp is here, the caller's ctx and the clock may end it.
	early, cancel := context.WithTimeoutCause(ctx, authTimeout, errAuthTimeout)
	defer cancel()
	stop := context.AfterFunc(early, func() { end(context.Cause(early)) })

	client := agentv1.NewControlServiceClient(cc)
	s, err := handshake(life, client, auth)
	if !stop() && err == nil {
		err = context.Cause(early)
	}
	if err != nil {
		if cause := context.Cause(life); cause != nil {
			err = cause
		}
		end(err)
		return nil, err
	}
	s.cc, s.client, s.life, s.end = cc, client, life, end
	return s, nil
}

func handshake(ctx context.Context, client agentv1.ControlServiceClient, auth *agentv1.Auth) (*Session, error) {
	stream, err := client.Connect(ctx)
	if err != nil {
		return nil, err
	}
	auth.ProtocolVersion = protocolVersion
	// An error of Send is io.EOF; Recv has the reason.
	_ = stream.Send(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Auth{Auth: auth}})
	first, err := stream.Recv()
	if err != nil {
		return nil, closedInOrder(err)
	}
	welcome := first.GetAuthResp()
	if v := welcome.GetProtocolVersion(); v < 1 || v > protocolVersion {
		return nil, fmt.Errorf("%w: protocol version %d", errMalformed, v)
	}
	if welcome.GetAgentId() == "" || welcome.GetSessionId() == "" {
		return nil, fmt.Errorf("%w: no ids", errMalformed)
	}
	return newSession(stream, welcome), nil
}
