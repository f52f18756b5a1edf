package rpc

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"

	"github.com/dialback/dialback/internal/telemetry"
)

// ClientConfig says whom to call and how.
type ClientConfig struct {
	// Target is a gRPC target, for instance "dns:///auth:7400", or several
	// addresses, "list:///10.0.0.1:7400,10.0.0.2:7400". One is called; another if
	// that is away.
	Target string
	// Dialer makes connections; nil: TCP. With it, Target is passed on as it is.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// TLS of the connection; nil calls in clear text, for tests.
	TLS *tls.Config
	// Telemetry makes the spans of calls; nil: none.
	Telemetry *telemetry.Telemetry
}

// Dial returns a connection that stands when it is needed and comes back by
// itself. Calls fail with *errs.Error.
func Dial(c ClientConfig) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if c.TLS != nil {
		creds = credentials.NewTLS(c.TLS)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithChainUnaryInterceptor(unaryErrors),
		grpc.WithChainStreamInterceptor(streamErrors),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		// A service that was restarted is wanted back soon; the default waits up to 2 minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.5, MaxDelay: 3 * time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(anyOf),
		grpc.WithResolvers(list{}),
	}
	if c.Telemetry != nil {
		opts = append(opts, grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(c.Telemetry.Tracer), otelgrpc.WithPropagators(c.Telemetry.Propagator),
			otelgrpc.WithFilter(tracedMethod))))
	}
	target := c.Target
	if c.Dialer != nil {
		target = "passthrough:///" + target
		opts = append(opts, grpc.WithContextDialer(c.Dialer), grpc.WithNoProxy())
	}
	return grpc.NewClient(target, opts...)
}

// tracedMethod leaves out streams and calls that live as long as the process:
// a span that never ends, or one every few seconds, tells nobody anything.
func tracedMethod(info *stats.RPCTagInfo) bool {
	_, method, _ := strings.Cut(strings.TrimPrefix(info.FullMethodName, "/"), "/")
	switch method {
	case "Connect", "ExportSpans", "Heartbeat":
		return false
	}
	return !strings.HasPrefix(method, "Watch")
}

func unaryErrors(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return FromStatus(invoke(ctx, method, req, reply, cc, opts...))
}

func streamErrors(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, FromStatus(err)
	}
	return &errorStream{stream}, nil
}

type errorStream struct{ grpc.ClientStream }

func (s *errorStream) SendMsg(m any) error { return FromStatus(s.ClientStream.SendMsg(m)) }

func (s *errorStream) RecvMsg(m any) error { return FromStatus(s.ClientStream.RecvMsg(m)) }
