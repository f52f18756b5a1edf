package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/apikey"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errRevoked = errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked, "revoked")
	errSlow    = errs.New(errs.ResourceExhausted, errs.ReasonRateLimited, "slow down")
	errAway    = errs.New(errs.Unavailable, errs.ReasonUnavailable, "away")
)

// auth answers what the test has it answer, and counts.
type auth struct {
	authv1.UnimplementedCredentialServiceServer
	answer atomic.Pointer[error]
	role   authv1.Role
	calls  atomic.Int32
}

func (a *auth) say(err error) { a.answer.Store(&err) }

func (a *auth) Authenticate(_ context.Context, req *authv1.AuthenticateRequest) (*authv1.AuthenticateResponse, error) {
	a.calls.Add(1)
	if err := *a.answer.Load(); err != nil {
		return nil, err
	}
	return &authv1.AuthenticateResponse{AccountId: req.GetClientAddress(), Role: a.role, Actor: "token:" + req.GetApiKey(), TokenId: req.GetApiKey()}, nil
}

type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(0, c.at.Load()) }

func start(t *testing.T) (*auth, *clock, *apikey.Authenticator) {
	t.Helper()
	a, mem := &auth{role: authv1.Role_ROLE_OPERATOR}, rpc.NewMemory()
	a.say(nil)
	server := rpc.NewServer(rpc.ServerConfig{
		Methods: testkit.Internal([]string{rpc.RoleAnyone}, authv1.CredentialService_ServiceDesc), Logger: slog.New(slog.DiscardHandler),
	})
	authv1.RegisterCredentialServiceServer(server, a)
	done := make(chan error, 1)
	go func() { done <- server.Serve(mem) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	conn, err := rpc.Dial(rpc.ClientConfig{Target: "auth", Dialer: mem.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &clock{}
	return a, c, apikey.New(conn, c.now)
}

func TestARevokedKeyIsRefusedWithinASecond(t *testing.T) {
	t.Parallel()
	a, c, users := start(t)
	p, err := users.Authenticate(t.Context(), "k1", "192.0.2.1:1")
	if want := (principal.Principal{Account: "192.0.2.1:1", Role: principal.Operator, Actor: "token:k1", TokenID: "k1"}); err != nil || p != want {
		t.Fatalf("it is %+v, %v", p, err)
	}
	a.say(errRevoked)
	c.at.Store(int64(time.Second - 1))
	if _, err := users.Authenticate(t.Context(), "k1", ""); err != nil || a.calls.Load() != 1 {
		t.Errorf("auth is asked again at once: %v after %d calls", err, a.calls.Load())
	}
	c.at.Store(int64(time.Second))
	for range 2 {
		if _, err := users.Authenticate(t.Context(), "k1", ""); !errors.Is(err, errRevoked) {
			t.Errorf("a second later: %v", err)
		}
	}
	if n := a.calls.Load(); n != 2 {
		t.Errorf("%d calls, want one for each second", n)
	}
}

// A refusal for the address, or none at all, is nobody else's.
func TestOnlyTheKeysOwnRefusalIsRemembered(t *testing.T) {
	t.Parallel()
	a, _, users := start(t)
	for i, refusal := range []*errs.Error{errSlow, errAway} {
		key := secret.String(fmt.Sprint("k", i))
		a.say(refusal)
		if _, err := users.Authenticate(t.Context(), key, "guesser"); !errors.Is(err, refusal) {
			t.Fatalf("got %v", err)
		}
		a.say(nil)
		if p, err := users.Authenticate(t.Context(), key, "owner"); err != nil || p.Account != "owner" {
			t.Errorf("after %v the owner is %+v, %v", refusal, p, err)
		}
	}
}

func TestARoleOfANewerReleaseIsNone(t *testing.T) {
	t.Parallel()
	a, _, users := start(t)
	a.role = 99
	if p, err := users.Authenticate(t.Context(), "k", ""); err != nil || p.Role != principal.None {
		t.Errorf("it is %+v, %v", p, err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	a, _, users := start(t)
	const many = 5000
	for i := range many {
		if _, err := users.Authenticate(t.Context(), secret.String(fmt.Sprint(i)), ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, again := range []struct {
		key   string
		calls int32
	}{{"4999", many}, {"0", many + 1}} {
		if _, err := users.Authenticate(t.Context(), secret.String(again.key), ""); err != nil || a.calls.Load() != again.calls {
			t.Errorf("key %s again: %d calls, %v; want %d", again.key, a.calls.Load(), err, again.calls)
		}
	}
}
