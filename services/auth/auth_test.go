package auth_test

import (
	"crypto/ed25519"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
)

func wantReason(t *testing.T, err error, kind errs.Kind, reason errs.Reason) errs.Error {
	t.Helper()
	e, ok := errs.From(err)
	if !ok || e.Kind() != kind || e.Reason() != reason {
		t.Fatalf("got %v, want reason %s", err, reason)
	}
	return *e
}

func TestATokenIsMadeUsedAndRevoked(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	created := r.create(&authv1.CreateTokenRequest{AccountId: "team-a", Description: "the demo", Grants: []string{"bind:*.Dev.example.com"}})
	if !regexp.MustCompile(`^dbt_[0-9a-f]{16}_[0-9a-f]{64}$`).MatchString(created.GetAuthtoken()) {
		t.Fatalf("the authtoken has another form: %d characters", len(created.GetAuthtoken()))
	}
	if created.GetServer() != "tunnel.example.com:443" || len(created.GetCaPins()) != 1 || [32]byte(created.GetCaPins()[0]) != d.ca.Pin() {
		t.Errorf("server %q, pins %x", created.GetServer(), created.GetCaPins())
	}

	connector := r.as(tlsconf.RoleConnector)
	valid, err := connector.Validate(bounded(t), validation(created.GetAuthtoken()))
	if err != nil {
		t.Fatal(err)
	}
	if valid.GetAccountId() != "team-a" || valid.GetTokenId() != created.GetToken().GetId() ||
		!slices.Equal(valid.GetGrants(), []string{"bind:*.dev.example.com"}) || valid.GetMaxTunnels() == 0 {
		t.Errorf("the answer is %v", valid)
	}

	admin := r.as(tlsconf.RoleAdmin)
	revoked, err := admin.RevokeToken(bounded(t), &authv1.RevokeTokenRequest{Id: created.GetToken().GetId()})
	if err != nil {
		t.Fatal(err)
	}
	again, err := admin.RevokeToken(bounded(t), &authv1.RevokeTokenRequest{Id: created.GetToken().GetId()})
	if err != nil || !proto.Equal(revoked, again) {
		t.Errorf("revoked again: %v, %v; want %v", again, err, revoked)
	}
	_, err = connector.Validate(bounded(t), validation(created.GetAuthtoken()))
	wantReason(t, err, errs.Unauthenticated, errs.ReasonTokenRevoked)

	listed, err := admin.ListTokens(bounded(t), &authv1.ListTokensRequest{AccountId: "team-a"})
	if err != nil || len(listed.GetTokens()) != 1 || !proto.Equal(listed.GetTokens()[0], revoked.GetToken()) {
		t.Errorf("listed %v, %v; want the revoked token", listed, err)
	}
}

func TestTheAssertionIsSignedAndNamesItsConnector(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r, other := d.start(d.config()), d.start(d.config())
	created := r.create(&authv1.CreateTokenRequest{ValidFor: durationpb.New(time.Minute)})
	req := validation(created.GetAuthtoken())
	valid, err := r.asNamed(tlsconf.RoleConnector, "c7").Validate(bounded(t), req)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := other.as(tlsconf.RoleRegistry).GetKeys(bounded(t), &authv1.GetKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	signed := valid.GetAssertion()
	text := append([]byte("dialback-assertion-v1\x00"), signed.GetAssertion()...)
	if !ed25519.Verify(keys.GetAssertionKeys()[signed.GetKeyId()], text, signed.GetSignature()) {
		t.Fatal("another replica's keys do not verify the signature")
	}
	var a authv1.Assertion
	if err := proto.Unmarshal(signed.GetAssertion(), &a); err != nil {
		t.Fatal(err)
	}
	if a.GetConnector() != "c7" || a.GetAgentId() != valid.GetAgentId() || a.GetTokenId() != valid.GetTokenId() ||
		a.GetAccountId() != "default" || !slices.Equal(a.GetInstance(), req.GetInstance()) {
		t.Errorf("the assertion says %v", &a)
	}
	if expires := created.GetToken().GetExpireTime().AsTime(); !a.GetExpireTime().AsTime().Equal(expires) {
		t.Errorf("the assertion outlives the token: %v, %v", a.GetExpireTime().AsTime(), expires)
	}
	if valid.GetValidFor().AsDuration() > time.Minute {
		t.Errorf("valid for %v, longer than the token", valid.GetValidFor().AsDuration())
	}
}

func TestEachMethodIsForItsRolesAlone(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	calls := map[string]struct {
		roles []string
		call  func(caller) error
	}{
		"CreateToken": {[]string{tlsconf.RoleAdmin}, func(c caller) error {
			_, err := c.CreateToken(bounded(t), &authv1.CreateTokenRequest{})
			return err
		}},
		"EndAgent": {[]string{tlsconf.RoleConnector}, func(c caller) error {
			_, err := c.EndAgent(bounded(t), &authv1.EndAgentRequest{AccountId: "team-a", AgentId: "x"})
			return err
		}},
		"CreateAccount": {[]string{tlsconf.RoleAdmin}, func(c caller) error {
			_, err := c.CreateAccount(bounded(t), &authv1.CreateAccountRequest{Account: &authv1.Account{Id: "team-a"}})
			return err
		}},
		"WatchEvents": {[]string{tlsconf.RoleAdmin}, func(c caller) error {
			stream, err := c.WatchEvents(bounded(t), &authv1.WatchEventsRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}},
		"Authenticate": {[]string{tlsconf.RoleConnector, tlsconf.RoleFrontdoor, tlsconf.RoleRegistry}, func(c caller) error {
			_, err := c.Authenticate(bounded(t), &authv1.AuthenticateRequest{ApiKey: "dbk_"})
			return err
		}},
		"GetToken": {[]string{tlsconf.RoleAdmin}, func(c caller) error {
			_, err := c.GetToken(bounded(t), &authv1.GetTokenRequest{Id: "0123456789abcdef"})
			return err
		}},
		"ListTokens": {[]string{tlsconf.RoleAdmin}, func(c caller) error {
			_, err := c.ListTokens(bounded(t), &authv1.ListTokensRequest{})
			return err
		}},
		"RevokeToken": {[]string{tlsconf.RoleAdmin}, func(c caller) error {
			_, err := c.RevokeToken(bounded(t), &authv1.RevokeTokenRequest{Id: "0123456789abcdef"})
			return err
		}},
		"Validate": {[]string{tlsconf.RoleConnector}, func(c caller) error {
			_, err := c.Validate(bounded(t), validation("dbt_"))
			return err
		}},
		"WatchRevocations": {[]string{tlsconf.RoleConnector}, func(c caller) error {
			stream, err := c.WatchRevocations(bounded(t), &authv1.WatchRevocationsRequest{Revision: -1})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}},
		"GetKeys": {[]string{tlsconf.RoleConnector, tlsconf.RoleFrontdoor, tlsconf.RoleRegistry}, func(c caller) error {
			_, err := c.GetKeys(bounded(t), &authv1.GetKeysRequest{})
			return err
		}},
	}
	for _, role := range []string{tlsconf.RoleAdmin, tlsconf.RoleAuth, tlsconf.RoleConnector, tlsconf.RoleFrontdoor, tlsconf.RoleRegistry} {
		c := r.as(role)
		for method, m := range calls {
			err := m.call(c)
			e, _ := errs.From(err)
			denied := e != nil && (e.Reason() == errs.ReasonPermissionDenied || e.Reason() == errs.ReasonTokenMissing && method != "Validate" && method != "Authenticate")
			if want := !slices.Contains(m.roles, role); denied != want {
				t.Errorf("%s by %s: %v; want denied %v", method, role, err, want)
			}
		}
	}
}

func TestOnlyWhoUsesTheTraceKeyGetsIt(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	for role, want := range map[string]int{tlsconf.RoleConnector: 32, tlsconf.RoleFrontdoor: 32, tlsconf.RoleRegistry: 0} {
		keys, err := r.as(role).GetKeys(bounded(t), &authv1.GetKeysRequest{})
		if err != nil || len(keys.GetTraceMacKey()) != want || len(keys.GetAssertionKeys()) != 1 {
			t.Errorf("%s gets %d bytes and %d keys, %v; want %d bytes", role, len(keys.GetTraceMacKey()), len(keys.GetAssertionKeys()), err, want)
		}
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	created := r.create(&authv1.CreateTokenRequest{Description: "logged"})
	connector := r.as(tlsconf.RoleConnector)
	valid, err := connector.Validate(bounded(t), validation(created.GetAuthtoken()))
	if err != nil {
		t.Fatal(err)
	}
	again := validation(created.GetAuthtoken())
	again.AgentId, again.ResumeToken = valid.GetAgentId(), valid.GetResumeToken()
	wrong := validation(flipLast(created.GetAuthtoken()))
	broken := validation(created.GetAuthtoken() + "x")
	long := validation(strings.Repeat(created.GetAuthtoken(), 5))
	for _, req := range []*authv1.ValidateRequest{again, wrong, broken, long} {
		if _, err = connector.Validate(bounded(t), req); err != nil && strings.Contains(err.Error(), created.GetAuthtoken()[21:60]) {
			t.Errorf("the secret is in an error: %v", err)
		}
	}
	if _, err := r.as(tlsconf.RoleAdmin).RevokeToken(bounded(t), &authv1.RevokeTokenRequest{Id: created.GetToken().GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = connector.Validate(bounded(t), again)
	wantReason(t, err, errs.Unauthenticated, errs.ReasonTokenRevoked)

	text := d.logs.String()
	if !strings.Contains(text, created.GetToken().GetId()) {
		t.Error("the log does not name the token, so it proves nothing")
	}
	for name, secret := range map[string]string{
		"authtoken": created.GetAuthtoken()[21:60], "resume token": valid.GetResumeToken()[4:40],
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s is in the log:\n%s", name, text)
		}
	}
}

// flipLast returns an authtoken with the same id and another secret.
func flipLast(authtoken string) string {
	last := byte('0')
	if authtoken[len(authtoken)-1] == last {
		last = '1'
	}
	return authtoken[:len(authtoken)-1] + string(last)
}
