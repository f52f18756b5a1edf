package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/telemetry"
)

const (
	// keepaliveTime and keepaliveTimeout find a dead peer behind an idle
	// connection; gRPC allows no server ping below 1 s, no client's below 10 s.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	// connectTimeout bounds a connection's TLS and HTTP/2 handshakes.
	connectTimeout = 10 * time.Second
)

// ServerConfig says how a server is to be.
type ServerConfig struct {
	// TLS of the listener; nil serves clear text, for tests.
	TLS *tls.Config
	// Methods says who may call what.
	Methods Methods
	// Validator checks every message of a caller before its method sees it; nil:
	// none does, for services whose protos have no rules.
	Validator Validator
	// Users knows whose API keys are; needed if there are external methods.
	Users  Authenticator
	Logger *slog.Logger
	// Telemetry makes the spans of calls; nil: none.
	Telemetry *telemetry.Telemetry
}

// Validator checks a message against the rules of its proto.
type Validator interface {
	Validate(m proto.Message) error
}

// Server is a grpc.Server that refuses to serve what nobody may call.
type Server struct {
	*grpc.Server
	guard *guard
}

// NewServer returns a server with the chain: recover, errors, authorize, validate.
func NewServer(c ServerConfig, opts ...grpc.ServerOption) *Server {
	guard := &guard{methods: c.Methods, users: c.Users, validator: c.Validator, log: c.Logger}
	creds := insecure.NewCredentials()
	if c.TLS != nil {
		creds = credentials.NewTLS(c.TLS)
	}
	all := []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.ChainUnaryInterceptor(guard.unary),
		grpc.ChainStreamInterceptor(guard.stream),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
	}
	if c.Telemetry != nil {
		all = append(all, grpc.StatsHandler(otelgrpc.NewServerHandler(
			otelgrpc.WithTracerProvider(c.Telemetry.Tracer), otelgrpc.WithPropagators(c.Telemetry.Propagator),
			otelgrpc.WithFilter(tracedMethod))))
	}
	return &Server{Server: grpc.NewServer(append(all, opts...)...), guard: guard}
}

// Serve serves l until the server is stopped. It fails at once if a method is
// served that nobody is listed for.
func (s *Server) Serve(l net.Listener) error {
	if err := s.guard.check(s.GetServiceInfo()); err != nil {
		_ = l.Close()
		return err
	}
	return s.Server.Serve(l)
}

// Drain lets calls in flight finish; what is left when ctx ends is cut off, which
// is an error. Streams that live for ever must be ended by their service before.
func (s *Server) Drain(ctx context.Context) error {
	cut := context.AfterFunc(ctx, s.Stop)
	s.GracefulStop()
	if !cut() {
		return ctx.Err()
	}
	return nil
}

// guard is one chain for both kinds of calls: it lets nobody in who is not
// listed, nothing through that breaks a proto's rules, survives a panic, logs a
// failure once and sends its public side.
type guard struct {
	methods   Methods
	users     Authenticator
	validator Validator
	log       *slog.Logger
}

func (g *guard) check(services map[string]grpc.ServiceInfo) error {
	if len(g.methods.External) > 0 && g.users == nil {
		return errors.New("there are external methods, and nobody who knows users")
	}
	return g.methods.check(services)
}

func (g *guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	err = g.call(ctx, info.FullMethod, func(ctx context.Context) (err error) {
		if err := g.validate(req); err != nil {
			return err
		}
		resp, err = next(ctx, req)
		return err
	})
	if err != nil {
		resp = nil
	}
	return resp, err
}

func (g *guard) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return g.call(stream.Context(), info.FullMethod, func(ctx context.Context) error {
		return next(srv, &guardedStream{ServerStream: stream, guard: g, ctx: ctx})
	})
}

// guardedStream checks what a caller streams, be it one request or many. Its
// context carries the caller's principal.
type guardedStream struct {
	grpc.ServerStream
	guard *guard
	ctx   context.Context
}

// Context implements grpc.ServerStream.
func (s *guardedStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *guardedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.guard.validate(m)
}

func (g *guard) validate(m any) error {
	message, ok := m.(proto.Message)
	if !ok || g.validator == nil {
		return nil
	}
	return g.validator.Validate(message)
}

func (g *guard) call(ctx context.Context, method string, f func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		err = g.outward(ctx, method, err)
	}()
	known, err := g.authorize(ctx, method)
	if err != nil {
		return err
	}
	return f(known)
}

// outward logs err where it ends and returns what the caller may see.
func (g *guard) outward(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	if _, ours := errs.From(err); !ours {
		// What a stream's own Send and Recv return is gRPC's word already.
		if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown && ctx.Err() != nil {
			return s.Err()
		}
	}
	out := ToStatus(err)
	level := slog.LevelInfo
	switch status.Code(out) {
	case codes.Internal:
		level = slog.LevelError
	case codes.Canceled, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted:
		level = slog.LevelDebug // an answer, which the caller makes of what it will
	}
	g.log.Log(ctx, level, "call failed", "method", method, "code", status.Code(out).String(), "error", err)
	return out
}
