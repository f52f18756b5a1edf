package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNoToken = errs.New(errs.NotFound, errs.ReasonNotFound, "no such token")

// tokens answers what the test has it answer.
type tokens struct {
	authv1.UnimplementedTokenServiceServer
	answer func(ctx context.Context) error
}

func (s *tokens) ListTokens(ctx context.Context, _ *authv1.ListTokensRequest) (*authv1.ListTokensResponse, error) {
	return &authv1.ListTokensResponse{}, s.answer(ctx)
}

var adminOnly = testkit.Internal([]string{tlsconf.RoleAdmin}, authv1.TokenService_ServiceDesc)

type fixture struct {
	t    *testing.T
	ca   *tlsconf.CA
	mem  *rpc.Memory
	logs *bytes.Buffer
}

// start serves tokens on an in-process listener with mutual TLS.
func start(t *testing.T, answer func(ctx context.Context) error) *fixture {
	t.Helper()
	ca, err := tlsconf.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, ca: ca, mem: rpc.NewMemory(), logs: &bytes.Buffer{}}
	server := rpc.NewServer(rpc.ServerConfig{
		TLS:     tlsconf.ServiceServer(f.cert(tlsconf.RoleAuth), ca.Pool()),
		Methods: adminOnly,
		Logger:  slog.New(slog.NewTextHandler(f.logs, nil)),
	})
	authv1.RegisterTokenServiceServer(server, &tokens{answer: answer})
	done := make(chan error, 1)
	go func() { done <- server.Serve(f.mem) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) cert(role string) tls.Certificate {
	cert, err := f.ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: "x"}, Client: true, Server: true})
	if err != nil {
		f.t.Fatal(err)
	}
	return *cert
}

func (f *fixture) list(role string) error {
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: "auth", Dialer: f.mem.Dial,
		TLS: tlsconf.ServiceClient(f.cert(role), f.ca.Pool(), tlsconf.RoleAuth),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = authv1.NewTokenServiceClient(conn).ListTokens(ctx, &authv1.ListTokensRequest{})
	return err
}

func TestErrorsHoldAcrossTheWire(t *testing.T) {
	t.Parallel()
	f := start(t, func(context.Context) error {
		return errNoToken.WithMessage("no token %q", "x").WithCause(errors.New("etcd at 10.1.2.3")).
			WithMetadata("id", "x").WithRetry(3*time.Second).WithField("id", "is not known")
	})
	err := f.list(tlsconf.RoleAdmin)
	if !errors.Is(err, errNoToken) {
		t.Fatalf("got %v, want the sentinel", err)
	}
	e, _ := errs.From(err)
	if e.Message() != `no token "x"` || e.Metadata()["id"] != "x" || e.RetryAfter() != 3*time.Second || len(e.Fields()) != 1 {
		t.Errorf("lost on the way: %+v", e)
	}
	if strings.Contains(err.Error(), "10.1.2.3") {
		t.Errorf("the cause has left the process: %v", err)
	}
}

func TestWhatIsNotOursIsInternal(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(context.Context) error{
		"a plain error":  func(context.Context) error { return errors.New("password=hunter2") },
		"a wrapped one":  func(context.Context) error { return status.Error(codes.Unknown, "password=hunter2") },
		"a panic":        func(context.Context) error { panic("password=hunter2") },
		"a foreign code": func(context.Context) error { return status.Error(codes.AlreadyExists, "password=hunter2") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, answer)
			err := f.list(tlsconf.RoleAdmin)
			if !errors.Is(err, rpc.ErrInternal) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
			if !strings.Contains(f.logs.String(), "hunter2") {
				t.Errorf("the cause is not in the log: %s", f.logs)
			}
		})
	}
}

func TestNobodyCallsWhatHeIsNotListedFor(t *testing.T) {
	t.Parallel()
	f := start(t, func(ctx context.Context) error {
		if id, ok := rpc.Caller(ctx); !ok || id.Role != tlsconf.RoleAdmin {
			t.Errorf("Caller = %v, %v", id, ok)
		}
		return nil
	})
	if err := f.list(tlsconf.RoleAdmin); err != nil {
		t.Errorf("admin: %v", err)
	}
	for _, role := range []string{tlsconf.RoleConnector, tlsconf.RoleFrontdoor, tlsconf.RoleRegistry, tlsconf.RoleAuth} {
		if err := f.list(role); !errors.Is(err, rpc.ErrDenied) {
			t.Errorf("%s: %v", role, err)
		}
	}
}

func TestAServerStartsOnlyWithACompleteList(t *testing.T) {
	t.Parallel()
	const gone = "/dialback.auth.v1.TokenService/Gone"
	for name, change := range map[string]func(*rpc.ServerConfig){
		"a method is missing": func(c *rpc.ServerConfig) {
			delete(c.Methods.Internal, authv1.TokenService_ListTokens_FullMethodName)
		},
		"a method is not there":         func(c *rpc.ServerConfig) { c.Methods.Internal[gone] = []string{tlsconf.RoleAdmin} },
		"a user's method is not there":  func(c *rpc.ServerConfig) { c.Methods.External[gone] = principal.Admin },
		"a method is in both lists":     func(c *rpc.ServerConfig) { c.Methods.External[listTokens] = principal.Admin },
		"a method is for no role":       func(c *rpc.ServerConfig) { listExternally(c, principal.None) },
		"nobody knows the users' roles": func(c *rpc.ServerConfig) { listExternally(c, principal.Admin); c.Users = nil },
	} {
		config := rpc.ServerConfig{
			Methods: rpc.Methods{Internal: maps.Clone(adminOnly.Internal), External: map[string]principal.Role{}},
			Users:   testkit.Users{}, Logger: slog.New(slog.DiscardHandler),
		}
		change(&config)
		server := rpc.NewServer(config)
		authv1.RegisterTokenServiceServer(server, &tokens{})
		if err := server.Serve(rpc.NewMemory()); err == nil {
			t.Errorf("%s: the server serves", name)
		}
		server.Stop()
	}
}

func TestGRPCsOwnErrors(t *testing.T) {
	t.Parallel()
	if err := rpc.FromStatus(status.Error(codes.Unavailable, "connection refused")); !errors.Is(err, rpc.ErrUnavailable) {
		t.Errorf("unavailable: %v", err)
	}
	if err := rpc.FromStatus(status.Error(codes.Canceled, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := rpc.FromStatus(status.Error(codes.DeadlineExceeded, "")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	if err := rpc.FromStatus(io.EOF); err != io.EOF { //nolint:errorlint // a stream's end must stay the very value
		t.Errorf("the end of a stream: %v", err)
	}
}
