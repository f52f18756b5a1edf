// Package frontdoors serves the other services: frontdoors ask for dial-backs and
// hear of the ends of sessions, the registry asks whether an agent is there. It
// never carries a visitor's byte.
package frontdoors

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/rpc/validate"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// Caps of a RequestProxy.
	maxTickets       = 256
	minTicket        = 16 // bytes
	maxTicket        = 64 // bytes
	maxAddresses     = 8
	maxAddressLength = 300 // bytes: a hostname and a port
	maxRemaining     = time.Minute
	// maxCalls is how many calls one frontdoor may have open at once.
	maxCalls = 16384
)

var (
	errMalformed = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request is malformed")
	errBehind    = errs.New(errs.Unavailable, errs.ReasonOverloaded,
		"this watch was too far behind and has missed ends; watch again and trust no session of before")
	errStopping = errs.New(errs.Unavailable, errs.ReasonUnavailable, "this connector is stopping")
)

// Server serves the other services.
type Server struct {
	connectorv1.UnimplementedDialbackServiceServer
	connectorv1.UnimplementedChallengeServiceServer
	table    *session.Table
	traceKey func() []byte
	stopping chan struct{}
}

// New returns the service. traceKey returns the key of trace MACs, nil while it
// is not known.
func New(table *session.Table, traceKey func() []byte) *Server {
	return &Server{table: table, traceKey: traceKey, stopping: make(chan struct{})}
}

// GRPC returns the server for the other services: frontdoors call for themselves or
// for users.
func (s *Server) GRPC(config *tls.Config, sessions *Sessions, users rpc.Authenticator, log *slog.Logger, traces *telemetry.Telemetry) *rpc.Server {
	server := rpc.NewServer(rpc.ServerConfig{
		TLS: config,
		Methods: rpc.Methods{
			Internal: map[string][]string{
				connectorv1.DialbackService_RequestProxy_FullMethodName:  {tlsconf.RoleFrontdoor},
				connectorv1.DialbackService_WatchSessions_FullMethodName: {tlsconf.RoleFrontdoor},
				connectorv1.ChallengeService_Challenge_FullMethodName:    {tlsconf.RoleRegistry},
			},
			External: map[string]principal.Role{
				connectorv1.SessionService_ListSessions_FullMethodName: principal.ReadOnly,
				connectorv1.SessionService_GetSession_FullMethodName:   principal.ReadOnly,
				connectorv1.SessionService_CloseSession_FullMethodName: principal.Operator,
			},
		},
		Validator: validate.New(), Users: users, Logger: log, Telemetry: traces,
	}, grpc.MaxConcurrentStreams(maxCalls))
	connectorv1.RegisterDialbackServiceServer(server, s)
	connectorv1.RegisterSessionServiceServer(server, sessions)
	connectorv1.RegisterChallengeServiceServer(server, s)
	return server
}

// Stop ends the watches: all sessions have ended, and frontdoors know it. Once.
func (s *Server) Stop() { close(s.stopping) }

// RequestProxy asks an agent to dial back, once for each ticket.
func (s *Server) RequestProxy(req *connectorv1.RequestProxyRequest, stream connectorv1.DialbackService_RequestProxyServer) error {
	if err := check(req); err != nil {
		return err
	}
	ctx := stream.Context()
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(
		attribute.String("dialback.agent.id", req.GetAgentId()),
		attribute.String("dialback.session.id", req.GetSessionId()),
		attribute.Int("dialback.tickets", len(req.GetTickets())))
	sess := s.find(req)
	if sess == nil {
		return s.noSession(req, stream)
	}
	asking, verdicts := sess.Ask(s.dials(ctx, sess, req))
	if asking == nil {
		return s.noSession(req, stream)
	}
	defer asking.Release()
	rtt := sess.RTT()
	for _, v := range verdicts {
		if err := stream.Send(toWire(v, rtt)); err != nil {
			return err
		}
	}
	span.SetAttributes(attribute.Int("dialback.asked", asking.Pending()))
	return s.later(ctx, asking, req.GetRemaining().AsDuration(), stream)
}

// later passes on what agents answer until no more can come.
func (s *Server) later(ctx context.Context, asking *session.Asking, remaining time.Duration, stream connectorv1.DialbackService_RequestProxyServer) error {
	expired := time.NewTimer(min(remaining, maxRemaining))
	defer expired.Stop()
	for range asking.Pending() {
		select {
		case v := <-asking.Later():
			trace.SpanFromContext(ctx).AddEvent(verdicts[v.Outcome].String())
			if err := stream.Send(toWire(v, 0)); err != nil {
				return err
			}
		case <-expired.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// find returns the session that is meant, all of whose names agree.
func (s *Server) find(req *connectorv1.RequestProxyRequest) *session.Session {
	sess := s.table.Get(req.GetSessionId())
	if sess == nil || sess.Agent != req.GetAgentId() || string(sess.Instance[:]) != string(req.GetInstance()) {
		return nil
	}
	return sess
}

func (s *Server) noSession(req *connectorv1.RequestProxyRequest, stream connectorv1.DialbackService_RequestProxyServer) error {
	for _, ticket := range req.GetTickets() {
		err := stream.Send(&connectorv1.RequestProxyResponse{Ticket: ticket, Verdict: connectorv1.Verdict_VERDICT_NO_SESSION})
		if err != nil {
			return err
		}
	}
	return nil
}

// dials returns the tickets as the agent is to get them, with this call's span as
// the parent of the agent's.
func (s *Server) dials(ctx context.Context, sess *session.Session, req *connectorv1.RequestProxyRequest) []session.Dial {
	deadline := time.Now().Add(min(req.GetRemaining().AsDuration(), maxRemaining))
	tc := s.traceContext(ctx, sess.Agent)
	dials := make([]session.Dial, 0, len(req.GetTickets()))
	for _, ticket := range req.GetTickets() {
		dials = append(dials, session.Dial{
			Ticket: string(ticket), Addresses: req.GetAddresses(), ServerName: req.GetServerName(),
			Deadline: deadline, Trace: tc,
		})
	}
	return dials
}

func (s *Server) traceContext(ctx context.Context, agentID string) session.Trace {
	tc := telemetry.Inject(ctx)
	if tc == nil {
		return session.Trace{}
	}
	t := session.Trace{Parent: tc.GetTraceparent(), State: tc.GetTracestate()}
	if key := s.traceKey(); len(key) > 0 {
		t.MAC = telemetry.TraceMAC(key, agentID, trace.SpanContextFromContext(ctx).TraceID())
	}
	return t
}

func check(req *connectorv1.RequestProxyRequest) error {
	switch {
	case len(req.GetTickets()) == 0 || len(req.GetTickets()) > maxTickets:
		return errMalformed.WithField("tickets", "want 1 to 256")
	case len(req.GetAddresses()) > maxAddresses:
		return errMalformed.WithField("addresses", "want at most 8")
	case len(req.GetServerName()) > maxAddressLength:
		return errMalformed.WithField("server_name", "too long")
	case req.GetRemaining().AsDuration() <= 0:
		return errMalformed.WithField("remaining", "want a duration above 0")
	}
	for _, ticket := range req.GetTickets() {
		if len(ticket) < minTicket || len(ticket) > maxTicket {
			return errMalformed.WithField("tickets", "want 16 to 64 bytes each")
		}
	}
	for _, address := range req.GetAddresses() {
		if len(address) > maxAddressLength {
			return errMalformed.WithField("addresses", "too long")
		}
	}
	return nil
}

var verdicts = map[session.Outcome]connectorv1.Verdict{
	session.Asked:        connectorv1.Verdict_VERDICT_ASKED,
	session.Overloaded:   connectorv1.Verdict_VERDICT_OVERLOADED,
	session.Failed:       connectorv1.Verdict_VERDICT_FAILED,
	session.SessionEnded: connectorv1.Verdict_VERDICT_SESSION_ENDED,
}

func toWire(v session.Verdict, rtt time.Duration) *connectorv1.RequestProxyResponse {
	resp := &connectorv1.RequestProxyResponse{
		Ticket: []byte(v.Ticket), Verdict: verdicts[v.Outcome], Reason: agentv1.FailReason(v.Fail),
	}
	if v.Outcome == session.Asked && rtt > 0 {
		resp.Rtt = durationpb.New(rtt)
	}
	return resp
}
