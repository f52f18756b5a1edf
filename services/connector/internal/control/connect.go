package control

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/connector/internal/credentials"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// The versions of the protocol that are spoken here.
	minVersion = 1
	maxVersion = 1
	// maxPeers is how many other connectors an agent is told of.
	maxPeers = 8
	// maxCredential bounds each text of Auth, in bytes.
	maxCredential = 256
)

var (
	errSilent = errs.New(errs.DeadlineExceeded, errs.ReasonInvalidArgument,
		"no Auth message came within 10 seconds")
	errNoAuth = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument,
		"the first message must be Auth")
	errTooLarge = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument,
		"a message is larger than 64 KiB")
	errMalformed = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument,
		"a message cannot be read")
	errVersion = errs.New(errs.FailedPrecondition, errs.ReasonVersionUnsupported, "")
)

type stream = agentv1.ControlService_ConnectServer

// Connect is one control stream. Its goroutine writes; a second one reads, so
// that neither waits for the other.
func (s *Server) Connect(stream stream) error {
	if err := s.table.Admit(); err != nil {
		return retryable(err)
	}
	first := make(chan received, 1)
	welcome := make(chan *agent, 1)
	go func() {
		msg, err := stream.Recv()
		first <- received{msg, err}
		select {
		case a := <-welcome:
			a.guard(a.read)
		case <-stream.Context().Done():
		}
	}()
	a, err := s.greet(stream, first)
	if err != nil {
		return err
	}
	welcome <- a
	return a.write()
}

// received is what Recv returned.
type received struct {
	msg *agentv1.ConnectRequest
	err error
}

// greet turns an Auth into a session in the table, whose AuthResp has been sent.
func (s *Server) greet(stream stream, first <-chan received) (*agent, error) {
	auth, err := awaitAuth(stream.Context(), first)
	if err != nil {
		return nil, err
	}
	p, _ := peer.FromContext(stream.Context())
	credential, err := readAuth(auth, p.Addr.String())
	if err != nil {
		return nil, err
	}
	grant, err := s.login(stream.Context(), credential)
	if err != nil {
		return nil, err
	}
	a := s.newAgent(stream, p, grant)
	a.session.Software = session.Software{Version: clip(auth.GetAgentVersion()), OS: clip(auth.GetOs()), Arch: clip(auth.GetArch())}
	if err := s.table.Add(a.session); err != nil {
		return nil, retryable(err)
	}
	s.keeper.Hold(a.session, grant)
	s.log.InfoContext(stream.Context(), "session opened", a.describe("version", a.session.Software.Version,
		"os", a.session.Software.OS, "arch", a.session.Software.Arch)...)
	if err := stream.Send(s.authResp(a, grant)); err != nil {
		s.table.End(a.session, session.Lost, streamFault(err))
	}
	a.session.Announce(s.connectors())
	return a, nil
}

// login has a credential judged when it is its turn.
func (s *Server) login(ctx context.Context, c credentials.Credential) (credentials.Grant, error) {
	turn := time.NewTimer(loginWithin)
	defer turn.Stop()
	select {
	case s.logins <- struct{}{}:
		defer func() { <-s.logins }()
		return s.keeper.Login(ctx, c)
	case <-turn.C:
		return credentials.Grant{}, errBusy
	case <-ctx.Done():
		return credentials.Grant{}, ctx.Err()
	}
}

func awaitAuth(ctx context.Context, first <-chan received) (*agentv1.Auth, error) {
	timer := time.NewTimer(authWithin)
	defer timer.Stop()
	select {
	case r := <-first:
		if r.err != nil {
			return nil, streamFault(r.err)
		}
		if auth := r.msg.GetAuth(); auth != nil {
			return auth, nil
		}
		return nil, errNoAuth
	case <-timer.C:
		return nil, errSilent
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readAuth checks an Auth's form; what it says is for auth to judge.
func readAuth(auth *agentv1.Auth, address string) (credentials.Credential, error) {
	if v := auth.GetProtocolVersion(); v < minVersion {
		return credentials.Credential{}, errVersion.WithMessage(
			"the agent speaks version %d of the protocol, this server versions %d to %d; update the agent", v, minVersion, maxVersion)
	}
	var instance session.Instance
	if copy(instance[:], auth.GetInstance()) != len(auth.GetInstance()) || len(auth.GetInstance()) != len(instance) {
		return credentials.Credential{}, errNoAuth.WithMessage("Auth is malformed").
			WithField("instance", "want 16 bytes")
	}
	for name, text := range map[string]string{
		"authtoken": auth.GetAuthtoken(), "agent_id": auth.GetAgentId(), "resume_token": auth.GetResumeToken(),
	} {
		if len(text) > maxCredential {
			return credentials.Credential{}, errNoAuth.WithMessage("Auth is malformed").WithField(name, "too long")
		}
	}
	return credentials.Credential{
		Authtoken: secret.String(auth.GetAuthtoken()), Agent: auth.GetAgentId(), Resume: secret.String(auth.GetResumeToken()),
		Instance: instance, Address: address,
	}, nil
}

func (s *Server) authResp(a *agent, grant credentials.Grant) *agentv1.ConnectResponse {
	return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_AuthResp{AuthResp: &agentv1.AuthResp{
		ProtocolVersion: maxVersion, // the highest that both speak: there is one
		AgentId:         grant.Agent,
		ResumeToken:     grant.Resume.Reveal(),
		SessionId:       a.session.ID,
		ConnectorId:     s.cfg.ConnectorID,
		OtherConnectors: s.names.Peers(maxPeers),
		PingInterval:    durationpb.New(s.cfg.Pings.Interval),
		PingTimeout:     durationpb.New(s.cfg.Pings.Timeout),
		ProxyCaPins:     s.cfg.ProxyCAPins,
		Banner:          s.cfg.Banner,
		MaxTunnels:      uint32(a.maxTunnels), // #nosec G115 -- a limit of ours
	}}}
}

// retryable adds to a refusal of ours when to come back; the jitter is the
// agent's.
func retryable(err error) error {
	if e, ok := errs.From(err); ok && (e.Kind() == errs.Unavailable || e.Kind() == errs.ResourceExhausted) {
		return e.WithRetry(time.Second)
	}
	return err
}

// streamFault says what a failed Recv means: an agent that went away has made no
// mistake.
func streamFault(err error) error {
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return errTooLarge.WithCause(err)
	case codes.Internal:
		return errMalformed.WithCause(err)
	}
	return context.Canceled
}

// clip shortens an agent's text for the log.
func clip(text string) string {
	const most = 64
	return text[:min(len(text), most)]
}
