package auth_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/auth"
)

// issuer signs ID tokens and serves its keys over HTTP, as OpenID Connect has it.
type issuer struct {
	t   *testing.T
	url string
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": i.url, "jwks_uri": i.url + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "kid": "k1", "alg": "RS256", "use": "sig", "n": raw(key.N.Bytes()), "e": raw(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func raw(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// token is an ID token of alice for this deployment, changed as the test wants it.
func (i *issuer) token(key *rsa.PrivateKey, change map[string]any) string {
	i.t.Helper()
	claims := map[string]any{
		"iss": i.url, "aud": "dialback", "sub": "alice@example.com", "groups": []string{"everybody", "team-a"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	for name, value := range change {
		claims[name] = value
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signed := raw([]byte(`{"alg":"RS256","kid":"k1"}`)) + "." + raw(payload)
	hash := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, hash[:])
	if err != nil {
		i.t.Fatal(err)
	}
	return signed + "." + raw(signature)
}

func (i *issuer) config(d *deployment) auth.Config {
	c := d.config()
	c.OIDC.Issuer, c.OIDC.ClientID = i.url, "dialback"
	c.OIDC.Roles = []string{"everybody=read-only@team-a", "team-a=operator@team-a", "ops=admin@default"}
	return c
}

func TestAPersonLogsInByTheProvidersWord(t *testing.T) {
	t.Parallel()
	d, i := deploy(t), newIssuer(t)
	r := d.start(i.config(d))
	front, admin := r.as(tlsconf.RoleFrontdoor), r.as(tlsconf.RoleAdmin)
	if _, err := admin.CreateAccount(bounded(t), &authv1.CreateAccountRequest{Account: &authv1.Account{Id: "team-a"}}); err != nil {
		t.Fatal(err)
	}
	where, err := front.GetLoginConfig(bounded(t), &authv1.GetLoginConfigRequest{})
	if err != nil || where.GetIssuer() != i.url || where.GetClientId() != "dialback" {
		t.Errorf("one logs in at %v, %v", where, err)
	}
	history, err := admin.WatchEvents(bounded(t), &authv1.WatchEventsRequest{Kind: "token"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := history.Recv(); err != nil {
		t.Fatal(err)
	}
	in, err := front.ExchangeIdToken(bounded(t), &authv1.ExchangeIdTokenRequest{IdToken: i.token(i.key, nil)})
	if err != nil || in.GetRole() != authv1.Role_ROLE_OPERATOR || in.GetAccountId() != "team-a" || in.GetSubject() != "alice@example.com" || in.GetValidFor().AsDuration() != 8*time.Hour {
		t.Fatalf("logged in as %v, %v", in, err)
	}
	if _, err := front.CreateToken(user(t, in.GetApiKey()), &authv1.CreateTokenRequest{Id: "alices"}); err != nil {
		t.Errorf("she makes a token: %v", err)
	}
	for _, want := range []auditv1.Action{auditv1.Action_ACTION_LOGGED_IN, auditv1.Action_ACTION_CREATED} {
		msg, err := history.Recv()
		for err == nil && len(msg.GetEvents()) == 0 {
			msg, err = history.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		if e := msg.GetEvents()[0]; e.GetAction() != want || e.GetActor() != "user:alice@example.com" || e.GetAddress() == "" {
			t.Errorf("the history has %v, want %v", e, want)
		}
	}
	if strings.Contains(d.logs.String(), in.GetApiKey()[21:]) {
		t.Error("the key is in the log")
	}
}

func TestAnIDTokenThatDoesNotHoldGivesNothing(t *testing.T) {
	t.Parallel()
	d, i := deploy(t), newIssuer(t)
	r := d.start(i.config(d))
	front := r.as(tlsconf.RoleFrontdoor)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"another key":      i.token(other, nil),
		"another issuer":   i.token(i.key, map[string]any{"iss": "https://elsewhere.example.com"}),
		"another audience": i.token(i.key, map[string]any{"aud": "mail"}),
		"expired":          i.token(i.key, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}),
		"nobody":           i.token(i.key, map[string]any{"sub": ""}),
		"a terminal's":     i.token(i.key, map[string]any{"sub": "\x1b[2J"}),
		"no signature":     raw([]byte(`{"alg":"none"}`)) + "." + raw([]byte(`{"sub":"alice"}`)) + ".",
		"no token":         "x",
	} {
		_, err := front.ExchangeIdToken(bounded(t), &authv1.ExchangeIdTokenRequest{IdToken: token})
		if e, ok := errs.From(err); !ok || e.Kind() != errs.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = front.ExchangeIdToken(bounded(t), &authv1.ExchangeIdTokenRequest{IdToken: i.token(i.key, map[string]any{"groups": "strangers"})})
	wantReason(t, err, errs.PermissionDenied, errs.ReasonPermissionDenied)
}

func TestWithoutAProviderNobodyLogsIn(t *testing.T) {
	t.Parallel()
	r := deploy(t).startDefault()
	front := r.as(tlsconf.RoleFrontdoor)
	if _, err := front.GetLoginConfig(bounded(t), &authv1.GetLoginConfigRequest{}); err == nil {
		t.Error("there is somewhere to log in")
	}
	if _, err := front.ExchangeIdToken(bounded(t), &authv1.ExchangeIdTokenRequest{IdToken: "x"}); err == nil {
		t.Error("somebody has logged in")
	}
	for _, bad := range []auth.OIDC{
		{Issuer: "http://login.example.com"}, {Issuer: "https://login.example.com"},
		{Issuer: "https://login.example.com", ClientID: "d", RoleClaim: "g", ValidFor: time.Hour, Roles: []string{"x=root@default"}},
		{Issuer: "https://login.example.com", ClientID: "d", RoleClaim: "g", ValidFor: time.Hour, Roles: []string{"x=admin"}},
		{Issuer: "https://login.example.com", ClientID: "d", RoleClaim: "g", ValidFor: 100 * time.Hour},
	} {
		c := auth.Default()
		c.Server, c.OIDC = "tunnel.example.com:443", bad
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "OIDC") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
