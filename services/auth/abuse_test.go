package auth_test

import (
	"strings"
	"testing"
	"time"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/auth"
)

func TestGuessesAreSlowedDownWithoutHarmToOthers(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	c := d.config()
	c.FailureBurst, c.FailureInterval = 3, time.Hour
	r := d.start(c)
	authtoken := r.create(&authv1.CreateTokenRequest{}).GetAuthtoken()
	connector := r.as(tlsconf.RoleConnector)
	for range 3 {
		_, err := connector.Validate(bounded(t), validation(flipLast(authtoken)))
		wantReason(t, err, errs.Unauthenticated, errs.ReasonTokenInvalid)
	}
	_, err := connector.Validate(bounded(t), validation(flipLast(authtoken)))
	if e := wantReason(t, err, errs.ResourceExhausted, errs.ReasonRateLimited); e.RetryAfter() <= 0 {
		t.Error("it does not say when to try again")
	}
	elsewhere := validation(authtoken)
	elsewhere.ClientAddress = "192.0.2.2:4000"
	if _, err := connector.Validate(bounded(t), elsewhere); err != nil {
		t.Errorf("a valid token from another address: %v", err)
	}
}

func TestOversizedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	_, err := r.as(tlsconf.RoleConnector).Validate(bounded(t), validation(strings.Repeat("x", 1<<20)))
	if e, ok := errs.From(err); !ok || e.Kind() != errs.ResourceExhausted {
		t.Errorf("a request of a megabyte: %v", err)
	}
	_, err = r.as(tlsconf.RoleConnector).Validate(bounded(t), validation(strings.Repeat("x", 300)))
	if e := wantReason(t, err, errs.InvalidArgument, errs.ReasonInvalidArgument); len(e.Fields()) != 1 || e.Fields()[0].Name != "authtoken" {
		t.Errorf("fields %v", e.Fields())
	}
	_, err = r.as(tlsconf.RoleAdmin).CreateToken(bounded(t), &authv1.CreateTokenRequest{Grants: []string{"bind:" + strings.Repeat("a", 300)}})
	wantReason(t, err, errs.InvalidArgument, errs.ReasonInvalidArgument)
}

// Tokens with as many grants as may be make answers that fit into a message.
func TestLongListsFitIntoMessages(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	grants := make([]string, 64)
	label := strings.Repeat("a", 60)
	for i := range grants {
		grants[i] = "bind:" + strings.Join([]string{label, label, label, label}, ".")
	}
	const tokens = 300 // 5 MB
	admin := r.as(tlsconf.RoleAdmin)
	for range tokens {
		if _, err := admin.CreateToken(bounded(t), &authv1.CreateTokenRequest{Grants: grants}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for page := ""; ; {
		resp, err := admin.ListTokens(bounded(t), &authv1.ListTokensRequest{PageSize: 1000, PageToken: page})
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range resp.GetTokens() {
			seen[token.GetId()] = true
		}
		if page = resp.GetNextPageToken(); page == "" {
			break
		}
	}
	if len(seen) != tokens {
		t.Errorf("%d tokens are listed, want %d", len(seen), tokens)
	}
}

func TestAnIncompleteConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	good := auth.Deps{
		Etcd: d.etcd, TLS: tlsconf.ServiceServer(d.cert(tlsconf.RoleAuth, "auth"), d.ca.Pool()),
		Listener: rpc.NewMemory(), Logger: testLogger(d),
	}
	for want, change := range map[string]func(*auth.Config, *auth.Deps){
		"server":             func(c *auth.Config, _ *auth.Deps) { c.Server = "example.com" },
		"assertion validity": func(c *auth.Config, _ *auth.Deps) { c.AssertionValidity = 0 },
		"failure burst":      func(c *auth.Config, _ *auth.Deps) { c.FailureBurst = 0 },
		"failure interval":   func(c *auth.Config, _ *auth.Deps) { c.FailureInterval = 0 },
		"drain timeout":      func(c *auth.Config, _ *auth.Deps) { c.DrainTimeout = 0 },
		"etcd":               func(_ *auth.Config, deps *auth.Deps) { deps.Etcd = nil },
		"TLS":                func(_ *auth.Config, deps *auth.Deps) { deps.TLS = nil },
		"logger":             func(_ *auth.Config, deps *auth.Deps) { deps.Logger = nil },
		"listen":             func(_ *auth.Config, deps *auth.Deps) { deps.Listener = nil },
	} {
		c, deps := d.config(), good
		change(&c, &deps)
		if _, err := auth.New(c, deps); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %v, want a complaint about %s", err, want)
		}
	}
}
