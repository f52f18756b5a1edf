// Package control serves agents: the control stream, and their spans beside it.
package control

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	tlscreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/services/connector/internal/credentials"
	"github.com/dialback/dialback/services/connector/internal/directory"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// authWithin is how long an agent may take to introduce itself.
	authWithin = 10 * time.Second
	// maxMessage is the size of an agent's message: 64 KiB of spans, or of
	// anything else, and its envelope.
	maxMessage = 64<<10 + 64
	// maxStreams is enough for the control stream and one of spans, with the
	// remains of their predecessors.
	maxStreams = 8
	// maxLogins is how many credentials are being judged at once, and loginWithin
	// how long an agent waits for its turn: when all agents come back at once,
	// auth sees a bounded ramp.
	maxLogins   = 128
	loginWithin = 5 * time.Second
	// window is an agent's flow control window; a fixed one, for gRPC's adaptive
	// one grows to megabytes.
	window = 64 << 10
	// readBuffer and writeBuffer of a connection: there are tens of thousands, each
	// keeps its read buffer, and TLS has its own in front of it.
	readBuffer  = 1 << 10
	writeBuffer = 4 << 10
	// idleConnection is how long a connection without streams is kept.
	idleConnection = 20 * time.Second
)

// Config is what agents are told, and their limits.
type Config struct {
	// ConnectorID is this connector's node id.
	ConnectorID string
	// HTTPPort and HTTPSPort are the public ports in URLs; 0: not offered.
	HTTPPort, HTTPSPort int
	// Domain is the deployment's: the host in the URLs of tcp tunnels.
	Domain      string
	Pings       session.Pings
	ProxyCAPins [][]byte
	Banner      string
	// MaxTunnels bounds the tunnels of a session; auth may allow less.
	MaxTunnels int
}

// Deps are what the server calls.
type Deps struct {
	Table     *session.Table
	Keeper    *credentials.Keeper
	Directory *directory.Client
	Spans     Spans
	Logger    *slog.Logger
}

// Spans takes agents' spans; Offer never waits.
type Spans interface {
	Offer(s *session.Session, otlp []byte)
	Forget(s *session.Session)
}

// Server serves agents.
type Server struct {
	agentv1.UnimplementedControlServiceServer
	cfg    Config
	table  *session.Table
	keeper *credentials.Keeper
	names  *directory.Client
	spans  Spans
	log    *slog.Logger
	logins chan struct{} // a place for each credential that is being judged
}

// New returns the service; GRPC serves it.
func New(cfg Config, d Deps) *Server {
	return &Server{
		cfg: cfg, table: d.Table, keeper: d.Keeper, names: d.Directory, spans: d.Spans, log: d.Logger,
		logins: make(chan struct{}, maxLogins),
	}
}

// GRPC returns the server for the agents' listener. Neither method has a span of
// its own: they live as long as the agent.
func (s *Server) GRPC(config *tls.Config) *rpc.Server {
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	server := rpc.NewServer(rpc.ServerConfig{
		Methods: rpc.Methods{Internal: map[string][]string{
			agentv1.ControlService_Connect_FullMethodName:     {rpc.RoleAnyone},
			agentv1.ControlService_ExportSpans_FullMethodName: {rpc.RoleAnyone},
		}},
		Logger: s.log,
	},
		grpc.Creds(linked{tlscreds.NewTLS(config)}),
		grpc.WriteBufferSize(writeBuffer), grpc.ReadBufferSize(readBuffer),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(8<<10), grpc.MaxConcurrentStreams(maxStreams),
		grpc.HeaderTableSize(0), // headers come once a connection: none is worth remembering
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleConnection, Time: 15 * time.Second, Timeout: 15 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	agentv1.RegisterControlServiceServer(server, s)
	return server
}

// Beat pings sessions and ends those that are dead, until ctx ends.
func (s *Server) Beat(ctx context.Context) error {
	tick := time.NewTicker(min(500*time.Millisecond, s.cfg.Pings.Interval/4))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, sess := range s.table.All() {
				if !sess.Alive(now, s.cfg.Pings) {
					s.table.End(sess, session.Unresponsive, session.ErrUnresponsive)
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

var errBusy = errs.New(errs.ResourceExhausted, errs.ReasonOverloaded,
	"too many agents are connecting at once; retry").WithRetry(2 * time.Second)

// linked gives a stream hold of its connection, which gRPC does not: it is how a
// peer that does not read is shaken off, and how two streams are known to be one
// agent's.
type linked struct{ tlscreds.TransportCredentials }

type link struct {
	tlscreds.AuthInfo
	conn net.Conn
}

func (l linked) ServerHandshake(raw net.Conn) (net.Conn, tlscreds.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return conn, &link{AuthInfo: info, conn: raw}, nil
}

func (l linked) Clone() tlscreds.TransportCredentials {
	return linked{l.TransportCredentials.Clone()}
}
