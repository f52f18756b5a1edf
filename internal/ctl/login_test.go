package ctl_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// provider is a server of RFC 8628: it grants once it was asked a second time, as
// if somebody had entered the code meanwhile.
type provider struct {
	url      string
	polls    int
	denied   bool
	received []string // what the token endpoint was sent
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"device_authorization_endpoint":"%s/device","token_endpoint":"%s/token"}`, p.url, p.url, p.url)
	})
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"device_code":"dc-%s","user_code":"ABCD-EFGH","verification_uri":"%s/enter","expires_in":60,"interval":1}`, r.PostFormValue("client_id"), p.url)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		p.received = append(p.received, r.PostFormValue("grant_type")+" "+r.PostFormValue("device_code"))
		p.polls++
		switch {
		case p.denied:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"access_denied","error_description":"the person said no"}`)
		case p.polls == 1:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"authorization_pending"}`)
		default:
			_, _ = fmt.Fprint(w, `{"access_token":"at","token_type":"Bearer","id_token":"the.id.token"}`)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *provider) rest() *rest {
	return &rest{answers: map[string]string{
		"GET /v1/login":  fmt.Sprintf(`{"issuer":%q,"client_id":"dialback","scopes":["openid"]}`, p.url),
		"POST /v1/login": `{"api_key":"dbk_login_secret","valid_for":"28800s","account_id":"team-a","role":"ROLE_READ_ONLY","subject":"alice"}`,
	}}
}

func TestALoginEntersACodeAndKeepsTheKey(t *testing.T) {
	p := newProvider(t)
	r := p.rest()
	user(t, r)
	code, stdout, stderr := run(t, "login")
	if code != 0 || stdout != "" {
		t.Fatalf("exit %d, %q, %s", code, stdout, stderr)
	}
	for _, want := range []string{p.url + "/enter", "ABCD-EFGH", "alice", "read-only of account team-a", "8h"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("the notes do not say %q:\n%s", want, stderr)
		}
	}
	if strings.Contains(stderr, "secret") || strings.Contains(stderr, "the.id.token") {
		t.Errorf("the notes have a secret:\n%s", stderr)
	}
	if got := p.received[0]; got != "urn:ietf:params:oauth:grant-type:device_code dc-dialback" {
		t.Errorf("the provider was sent %q", got)
	}
	if body := r.bodies[len(r.bodies)-1]; !strings.Contains(body, `"the.id.token"`) || r.key != "" {
		t.Errorf("the server was sent %s with %q", body, r.key)
	}
	file, err := os.ReadFile(os.Getenv("DIALBACK_CTL_CONFIG"))
	if err != nil || !strings.Contains(string(file), "key: dbk_login_secret") {
		t.Errorf("the context is\n%s%v", file, err)
	}
}

func TestALoginThatIsRefusedKeepsTheContext(t *testing.T) {
	p := newProvider(t)
	p.denied = true
	r := p.rest()
	user(t, r)
	for says, change := range map[string]func(){
		"the person said no": func() {},
		"another one":        func() { r.answers["GET /v1/login"] = fmt.Sprintf(`{"issuer":"%s/","client_id":"dialback"}`, p.url) },
		"nothing here":       func() { delete(r.answers, "GET /v1/login") },
	} {
		r.answers = p.rest().answers
		change()
		if code, _, stderr := run(t, "login"); code != 1 || !strings.Contains(stderr, says) {
			t.Errorf("exit %d, %s; want %q", code, stderr, says)
		}
	}
	file, err := os.ReadFile(os.Getenv("DIALBACK_CTL_CONFIG"))
	if err != nil || !strings.Contains(string(file), "key: dbk_a_b") {
		t.Errorf("the context is\n%s%v", file, err)
	}
}
