// Package openid runs the OpenID provider that comes with zitadel/oidc, which
// knows nothing of Dialback: its protocol, pages and tokens are not ours.
package openid

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// password is everybody's.
const password = "correct horse"

// Provider is a running OpenID provider.
type Provider struct {
	Issuer string
	store  *store
}

// Start starts a provider for these clients, all of them public, and people, who
// are in groups.
func Start(t testing.TB, clients []string, people map[string][]string) *Provider {
	t.Helper()
	known := make(map[string]*storage.Client)
	for _, id := range clients {
		known[id] = storage.NativeClient(id)
	}
	s := &store{Storage: storage.NewStorageWithClients(users(people), known), groups: people, polls: make(map[string][]time.Time)}
	s.lifetime.Store(int64(time.Hour))
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	server.Config.Handler = exampleop.SetupServer(issuer, s, slog.New(slog.DiscardHandler), false)
	server.Start()
	t.Cleanup(server.Close)
	return &Provider{Issuer: issuer, store: s}
}

// SetLifetime says how long ID tokens hold from now on.
func (p *Provider) SetLifetime(d time.Duration) { p.store.lifetime.Store(int64(d)) }

// SlowDown has a device told to ask more seldom, once, when it asks next.
func (p *Provider) SlowDown() { p.store.slowDown.Store(true) }

// Polls are when a client has asked, for each device code.
func (p *Provider) Polls() map[string][]time.Time {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	copied := make(map[string][]time.Time)
	for code, polls := range p.store.polls {
		copied[code] = append([]time.Time(nil), polls...)
	}
	return copied
}

// users are the people who can log in, by name.
type users map[string][]string

func (u users) GetUserByID(name string) *storage.User {
	if _, ok := u[name]; !ok {
		return nil
	}
	return &storage.User{ID: name, Username: name, Password: password, FirstName: name, Email: name + "@example.com"}
}

func (u users) GetUserByUsername(name string) *storage.User { return u.GetUserByID(name) }

func (u users) ExampleClientID() string { return storage.ServiceUserID }

// store is the provider's memory, with groups.
type store struct {
	*storage.Storage
	groups   map[string][]string
	lifetime atomic.Int64
	slowDown atomic.Bool

	mu    sync.Mutex
	polls map[string][]time.Time
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest.
func (s *store) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, request op.IDTokenRequest, scopes []string) error {
	info.AppendClaims("groups", s.groups[request.GetSubject()])
	return s.Storage.SetUserinfoFromRequest(ctx, info, request, scopes)
}

// GetDeviceAuthorizatonState implements op.DeviceAuthorizationStorage. A store
// that is too slow has the provider answer slow_down.
func (s *store) GetDeviceAuthorizatonState(ctx context.Context, client, code string) (*op.DeviceAuthorizationState, error) {
	s.mu.Lock()
	s.polls[code] = append(s.polls[code], time.Now())
	s.mu.Unlock()
	if s.slowDown.CompareAndSwap(true, false) {
		return nil, context.DeadlineExceeded
	}
	return s.Storage.GetDeviceAuthorizatonState(ctx, client, code)
}

// GetClientByClientID implements op.Storage.
func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	known, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{known, time.Duration(s.lifetime.Load())}, nil
}

// client may use the device flow.
type client struct {
	op.Client
	lifetime time.Duration
}

func (c client) GrantTypes() []oidc.GrantType { return []oidc.GrantType{oidc.GrantTypeDeviceCode} }

func (c client) IDTokenLifetime() time.Duration { return c.lifetime }
