package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/dialback/dialback/test/e2e/harness"
	"github.com/dialback/dialback/test/e2e/openid"
)

// people are known to the provider, and in these groups.
var people = map[string][]string{
	"alice": {"everybody", "shop"}, "root": {"shop", "platform"}, "mallory": {"strangers"}, "dave": {"shop"}, "sam": {"everybody"},
}

// loginServer is a server whose people log in at a provider.
func loginServer(t *testing.T, p *openid.Provider, client string) *harness.Server {
	t.Helper()
	server := harness.StartServer(t, nil, "--oidc-issuer", p.Issuer, "--oidc-client-id", client, "--oidc-valid-for", "1h",
		"--oidc-role", "platform=admin@default", "--oidc-role", "shop=operator@team-shop", "--oidc-role", "everybody=read-only@default")
	harness.Run(t, server.Env(), harness.Bin("dialbackctl"), "create", "account", "id=team-shop")
	return server
}

// login runs `dialbackctl login` as a user of his own, who opens the page that it
// names and presses a button there.
func login(t *testing.T, server *harness.Server, person, button string) (env []string, code int, out string) {
	t.Helper()
	env = harness.Home(t.TempDir())
	p := harness.Start(t, env, harness.Bin("dialbackctl"), "login", "--url", "http://"+server.API)
	page := p.WaitLog(`Open (\S+) and enter`)
	openid.Decide(t, page, p.WaitLog(`enter the code (\S+)`), person, button)
	code = p.Wait()
	return env, code, p.Log()
}

func TestPeopleLogInWithACodeAtTheirProvider(t *testing.T) {
	t.Parallel()
	provider := openid.Start(t, []string{"dialback", "mail"}, people)
	server := loginServer(t, provider, "dialback")

	t.Run("and get the role of their group", func(t *testing.T) {
		t.Parallel()
		env, code, out := login(t, server, "alice", "allowed")
		if code != 0 || !strings.Contains(out, "Logged in as alice: operator of account team-shop, for 1h") {
			t.Fatalf("exit %d\n%s", code, out)
		}
		if code, out = harness.Run(t, env, harness.Bin("dialbackctl"), "create", "token", "id=alices"); code != 0 {
			t.Errorf("an operator makes a token: exit %d\n%s", code, out)
		}
		if code, out = harness.Run(t, env, harness.Bin("dialbackctl"), "create", "account", "id=more"); code != 1 || !strings.Contains(out, "is for admin") || !strings.Contains(out, "--context") {
			t.Errorf("an operator makes an account: exit %d\n%s", code, out)
		}
		var list struct {
			Tokens []struct {
				Kind       string    `json:"kind"`
				Subject    string    `json:"subject"`
				AccountID  string    `json:"account_id"`
				ExpireTime time.Time `json:"expire_time"`
			} `json:"tokens"`
		}
		_, out = harness.Run(t, env, harness.Bin("dialbackctl"), "get", "tokens", "-o", "json")
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		found := false
		for _, token := range list.Tokens {
			if token.AccountID != "team-shop" {
				t.Errorf("another account's: %+v", token)
			}
			if token.Subject == "alice" {
				found = true
				if left := time.Until(token.ExpireTime); token.Kind != "TOKEN_KIND_USER" || left > time.Hour || left < time.Minute {
					t.Errorf("her key: %+v", token)
				}
			}
		}
		if !found {
			t.Errorf("her key is not in the list:\n%s", out)
		}
	})
	t.Run("of several groups the highest", func(t *testing.T) {
		t.Parallel()
		env, code, out := login(t, server, "root", "allowed")
		if code != 0 || !strings.Contains(out, "admin of account default") {
			t.Fatalf("exit %d\n%s", code, out)
		}
		if code, out = harness.Run(t, env, harness.Bin("dialbackctl"), "get", "accounts"); code != 0 || !strings.Contains(out, "team-shop") {
			t.Errorf("an administrator lists accounts: exit %d\n%s", code, out)
		}
	})
	t.Run("in no group that counts they get nothing", func(t *testing.T) {
		t.Parallel()
		if _, code, out := login(t, server, "mallory", "allowed"); code != 1 || !strings.Contains(out, "nothing says what you may do here") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	t.Run("who says no gets nothing", func(t *testing.T) {
		t.Parallel()
		env, code, out := login(t, server, "dave", "denied")
		if code != 1 || !strings.Contains(out, "log in: The authorization request was denied") {
			t.Errorf("exit %d\n%s", code, out)
		}
		if code, out = harness.Run(t, env, harness.Bin("dialbackctl"), "get", "tunnels"); code == 0 {
			t.Errorf("there is a context:\n%s", out)
		}
	})
	t.Run("a token for another program is refused", func(t *testing.T) {
		t.Parallel()
		if status, answer := exchange(t, server, idToken(t, provider, "mail", "root")); status != 401 || answer.Reason != "TOKEN_INVALID" {
			t.Errorf("%d %+v", status, answer)
		}
	})
}

func TestALoginWhoseTimeIsOver(t *testing.T) {
	t.Parallel()
	provider := openid.Start(t, []string{"dialback"}, people)
	server := loginServer(t, provider, "dialback")
	provider.SetLifetime(-time.Minute)
	status, answer := exchange(t, server, idToken(t, provider, "dialback", "root"))
	if status != 401 || answer.Reason != "TOKEN_INVALID" || answer.Metadata["problem"] != "expired" || answer.TraceID == "" {
		t.Errorf("%d %+v", status, answer)
	}
}

// A provider that has too much to do is asked more seldom, as RFC 8628 has it.
func TestALoginAtAProviderThatIsSlow(t *testing.T) {
	t.Parallel()
	provider := openid.Start(t, []string{"dialback"}, people)
	server := loginServer(t, provider, "dialback")
	provider.SlowDown()
	if _, code, out := login(t, server, "sam", "allowed"); code != 0 || !strings.Contains(out, "read-only of account default") {
		t.Errorf("exit %d\n%s", code, out)
	}
	for code, polls := range provider.Polls() {
		if len(polls) < 2 {
			t.Fatalf("%s: asked %d times", code, len(polls))
		}
		if gap := polls[1].Sub(polls[0]); gap < 9*time.Second {
			t.Errorf("asked again after %v, want the 5 s that it says and 5 s more", gap)
		}
	}
}

func TestALoginOfAClientThatTheProviderDoesNotKnow(t *testing.T) {
	t.Parallel()
	provider := openid.Start(t, []string{"mail"}, people)
	server := loginServer(t, provider, "dialback")
	code, out := harness.Run(t, harness.Home(t.TempDir()), harness.Bin("dialbackctl"), "login", "--url", "http://"+server.API)
	if code != 1 || !strings.Contains(out, "ask the OpenID provider for a code: client not found") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// idToken is what another program of the provider's gets of a person.
func idToken(t *testing.T, p *openid.Provider, client, person string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Limit)
	defer cancel()
	flow := oauth2.Config{ClientID: client, Scopes: []string{"openid", "groups"}, Endpoint: oauth2.Endpoint{
		DeviceAuthURL: p.Issuer + "/device_authorization", TokenURL: p.Issuer + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams,
	}}
	device, err := flow.DeviceAuth(ctx)
	if err != nil {
		t.Fatal(err)
	}
	openid.Decide(t, device.VerificationURI, device.UserCode, person, "allowed")
	device.Interval = 1
	token, err := flow.DeviceAccessToken(ctx, device)
	if err != nil {
		t.Fatal(err)
	}
	return token.Extra("id_token").(string)
}

// refusal is the body of REST's errors.
type refusal struct {
	Code     string            `json:"code"`
	Reason   string            `json:"reason"`
	Message  string            `json:"message"`
	Metadata map[string]string `json:"metadata"`
	TraceID  string            `json:"trace_id"`
}

func exchange(t *testing.T, server *harness.Server, idToken string) (int, refusal) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"id_token": idToken})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Limit}
	res, err := client.Post("http://"+server.API+"/v1/login", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer refusal
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}
