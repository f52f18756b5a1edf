package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

const listTokens = authv1.TokenService_ListTokens_FullMethodName

// listExternally makes ListTokens a method for users.
func listExternally(c *rpc.ServerConfig, least principal.Role) {
	delete(c.Methods.Internal, listTokens)
	c.Methods.External = map[string]principal.Role{listTokens: least}
}

// operatorsOnly serves ListTokens to operators; answer sees the caller.
func operatorsOnly(t *testing.T, answer func(context.Context) error) (*tlsconf.CA, *rpc.Memory) {
	t.Helper()
	ca, mem := testkit.CA(t), rpc.NewMemory()
	config := rpc.ServerConfig{
		TLS:     tlsconf.ServiceServer(issue(t, ca, tlsconf.RoleAuth), ca.Pool()),
		Methods: testkit.Internal([]string{tlsconf.RoleFrontdoor}, authv1.TokenService_ServiceDesc),
		Users:   testkit.Users{}, Logger: slog.New(slog.DiscardHandler),
	}
	listExternally(&config, principal.Operator)
	server := rpc.NewServer(config)
	authv1.RegisterTokenServiceServer(server, &tokens{answer: answer})
	done := make(chan error, 1)
	go func() { done <- server.Serve(mem) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ca, mem
}

func issue(t *testing.T, ca *tlsconf.CA, role string) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: "x"}, Client: true, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	return *cert
}

// callAs lists tokens with the identity of a role and the given metadata.
func callAs(t *testing.T, ca *tlsconf.CA, mem *rpc.Memory, role string, pairs ...string) error {
	t.Helper()
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: "auth", Dialer: mem.Dial, TLS: tlsconf.ServiceClient(issue(t, ca, role), ca.Pool(), tlsconf.RoleAuth),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = authv1.NewTokenServiceClient(conn).ListTokens(metadata.AppendToOutgoingContext(ctx, pairs...), &authv1.ListTokensRequest{})
	return err
}

// The gateway calls with a frontdoor's identity whatever a stranger asks for.
func TestAServicesIdentityOpensNoUsersMethod(t *testing.T) {
	t.Parallel()
	ca, mem := operatorsOnly(t, func(context.Context) error { return nil })
	for _, role := range []string{tlsconf.RoleFrontdoor, tlsconf.RoleConnector, tlsconf.RoleRegistry, tlsconf.RoleAuth} {
		for name, test := range map[string]struct {
			pairs []string
			want  error
		}{
			"without a key":      {nil, errs.New(errs.Unauthenticated, errs.ReasonTokenMissing, "")},
			"not a bearer":       {[]string{"authorization", "Basic b3BlcmF0b3I6"}, errs.New(errs.Unauthenticated, errs.ReasonTokenMissing, "")},
			"two keys":           {[]string{"authorization", "Bearer operator", "authorization", "Bearer admin"}, errs.New(errs.Unauthenticated, errs.ReasonTokenMissing, "")},
			"a wrong key":        {[]string{"authorization", "Bearer root"}, testkit.ErrKey},
			"too low a role":     {[]string{"authorization", "Bearer read-only"}, rpc.ErrDenied},
			"an agent's role":    {[]string{"authorization", "Bearer agent"}, rpc.ErrDenied},
			"the role":           {[]string{"authorization", "Bearer operator"}, nil},
			"a higher one":       {[]string{"authorization", "bearer admin"}, nil},
			"a name of a header": {[]string{"dialback-role", "admin"}, errs.New(errs.Unauthenticated, errs.ReasonTokenMissing, "")},
		} {
			if err := callAs(t, ca, mem, role, test.pairs...); !errors.Is(err, test.want) {
				t.Errorf("%s, %s: %v, want %v", role, name, err, test.want)
			}
		}
	}
}

func TestAnAdministratorsCertificateStandsForAKey(t *testing.T) {
	t.Parallel()
	seen := make(chan principal.Principal, 1)
	ca, mem := operatorsOnly(t, func(ctx context.Context) error {
		seen <- principal.From(ctx)
		return nil
	})
	if err := callAs(t, ca, mem, tlsconf.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	if want := (principal.Principal{Account: principal.DefaultAccount, Role: principal.Admin, Actor: "admin:x"}); <-seen != want {
		t.Errorf("the principal is not %+v", want)
	}
	if err := callAs(t, ca, mem, tlsconf.RoleAdmin, "authorization", "Bearer agent"); !errors.Is(err, rpc.ErrDenied) {
		t.Errorf("a key beside the certificate does not count: %v", err)
	}
}

func TestOnlyAFrontdoorSaysForWhomItCalls(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	ca, mem := operatorsOnly(t, func(ctx context.Context) error {
		seen <- rpc.ClientAddress(ctx)
		return nil
	})
	for role, believed := range map[string]bool{tlsconf.RoleFrontdoor: true, tlsconf.RoleConnector: false, tlsconf.RoleAdmin: false} {
		if err := callAs(t, ca, mem, role, "authorization", "Bearer operator", rpc.ClientAddressKey, "192.0.2.7:1234"); err != nil {
			t.Fatal(err)
		}
		if address := <-seen; address == "" || (address == "192.0.2.7:1234") != believed {
			t.Errorf("a %s's word on the client: the call is from %q", role, address)
		}
	}
}
