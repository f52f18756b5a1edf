// Package auth is the service that knows accounts and credentials: it makes and
// revokes authtokens, judges what agents present, and signs its word on it. It
// never sees traffic.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/rpc/validate"
	"github.com/dialback/dialback/services/auth/internal/etcdstore"
	"github.com/dialback/dialback/services/auth/internal/grpcapi"
	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/oidc"
)

const (
	// throttled is how many addresses with refused credentials are remembered.
	throttled = 1 << 16
	// maxCalls is how many calls one connection may have open.
	maxCalls = 1024
	// storeRetry is the pause between two attempts to reach the store at start.
	storeRetry = time.Second
)

// Service is one replica of auth.
type Service struct {
	config    Config
	deps      Deps
	log       *slog.Logger
	listeners []net.Listener

	store       *etcdstore.Store
	revocations *identity.Revocations
	uses        *identity.Uses
}

// New checks the configuration and listens. Calls wait until Run.
func New(c Config, d Deps) (*Service, error) {
	if err := errors.Join(c.Validate(), d.validate()); err != nil {
		return nil, err
	}
	s := &Service{config: c, deps: d, log: d.Logger.With("part", "auth"), store: etcdstore.New(d.Etcd, etcdstore.Prefix)}
	s.revocations = identity.NewRevocations(s.store, time.Now, s.log)
	s.uses = identity.NewUses(s.store, time.Now, s.log)
	if c.Listen != "" {
		l, err := net.Listen("tcp", c.Listen)
		if err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
		s.listeners = append(s.listeners, l)
	}
	if d.Listener != nil {
		s.listeners = append(s.listeners, d.Listener)
	}
	if len(s.listeners) == 0 {
		return nil, errors.New("auth has nothing to listen on: give it an address or a listener")
	}
	return s, nil
}

// Addr returns where auth listens: Config.Listen's address, if it has one.
func (s *Service) Addr() net.Addr { return s.listeners[0].Addr() }

// Run serves until ctx ends, then lets calls in flight finish. It returns nil for
// a clean stop.
func (s *Service) Run(ctx context.Context) error {
	keys, err := s.loadKeys(ctx)
	if err != nil {
		s.closeListeners()
		if ctx.Err() != nil {
			return nil // stopped before it began: clean
		}
		return err
	}
	server := s.newServer(keys)

	g := lifecycle.New(s.log)
	g.Go("revocations", s.revocations.Run)
	g.Go("uses", s.uses.Run)
	g.Go("history", identity.NewTrimmer(s.store, identity.Retention{Age: s.config.AuditAge, Count: s.config.AuditCount}, time.Now, s.log).Run)
	g.Go("agents", identity.NewSweeper(s.store, time.Now, s.log).Run)
	for _, l := range s.listeners {
		g.Go("serve "+l.Addr().String(), func(context.Context) error { return server.Serve(l) })
	}
	// Steps run in reverse: watches never end by themselves, so they are ended
	// first; then calls in flight have the rest of the time.
	g.OnDrain("calls", server.Drain)
	g.OnDrain("watches", func(context.Context) error { s.revocations.Stop(); return nil })
	s.log.InfoContext(ctx, "auth serves", "addresses", addresses(s.listeners), "key", keys.ID())
	return g.Run(ctx, s.config.DrainTimeout)
}

// loadKeys waits for the store: at the start of a cluster it may come later.
func (s *Service) loadKeys(ctx context.Context) (identity.Keys, error) {
	proposal := identity.NewKeys(time.Now())
	for {
		keys, err := s.begin(ctx, proposal)
		if !errors.Is(err, identity.ErrUnavailable) {
			return keys, err
		}
		s.log.WarnContext(ctx, "auth waits for its store", "error", err)
		select {
		case <-ctx.Done():
			return identity.Keys{}, ctx.Err()
		case <-time.After(storeRetry):
		}
	}
}

// begin returns the keys that all replicas share, and sees to it that there is the
// account which whoever names none means.
func (s *Service) begin(ctx context.Context, proposal identity.Keys) (identity.Keys, error) {
	keys, err := s.store.Keys(ctx, proposal)
	if err != nil {
		return keys, err
	}
	account, event := identity.NewDefaultAccount(time.Now())
	_, _, err = s.store.CreateAccount(ctx, account, event)
	return keys, err
}

func (s *Service) newServer(keys identity.Keys) *rpc.Server {
	throttle := func() *identity.Throttle {
		return identity.NewThrottle(s.config.FailureBurst, s.config.FailureInterval, throttled, time.Now)
	}
	addresses, tokens := throttle(), identity.NewTokens(s.store, time.Now)
	credentials := identity.NewCredentials(
		identity.Limits{AssertionValidity: s.config.AssertionValidity, MaxTunnels: s.config.MaxTunnels},
		identity.CredentialDeps{Store: s.store, Addresses: addresses, IDs: throttle(), Uses: s.uses, Now: time.Now})
	server := rpc.NewServer(rpc.ServerConfig{
		TLS: s.deps.TLS, Methods: grpcapi.Methods(), Users: credentials, Validator: validate.New(), Logger: s.log, Telemetry: s.deps.Telemetry,
	}, grpc.MaxRecvMsgSize(grpcapi.MaxMessage), grpc.MaxConcurrentStreams(maxCalls))
	agentServer := grpcapi.Server{Address: s.config.Server}
	for _, pin := range s.config.CAPins {
		agentServer.CAPins = append(agentServer.CAPins, pin[:])
	}
	grpcapi.Services{
		Credentials: grpcapi.NewCredentialService(credentials, s.revocations, keys),
		Accounts:    grpcapi.NewAccountService(identity.NewAccounts(s.store, time.Now), s.log),
		Tokens:      grpcapi.NewTokenService(tokens, agentServer, s.log),
		Audit:       grpcapi.NewAuditService(identity.NewAudit(s.store, s.revocations)),
		Login:       s.newLogin(tokens, addresses),
	}.Register(server)
	return server
}

func (s *Service) newLogin(tokens *identity.Tokens, addresses *identity.Throttle) *grpcapi.LoginService {
	o := s.config.OIDC
	var provider identity.Verifier
	if o.Issuer != "" {
		provider = oidc.New(oidc.Config{Issuer: o.Issuer, ClientID: o.ClientID, RoleClaim: o.RoleClaim}, http.DefaultClient)
	}
	rules, _ := o.rules() // New has checked them
	logins := identity.NewLogins(identity.LoginConfig{Rules: rules, ValidFor: o.ValidFor}, provider, tokens, addresses)
	return grpcapi.NewLoginService(logins, o.Issuer, o.ClientID, s.log)
}

func (s *Service) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close() // nobody has used them
	}
}

func addresses(listeners []net.Listener) []string {
	list := make([]string, len(listeners))
	for i, l := range listeners {
		list[i] = l.Addr().String()
	}
	return list
}
