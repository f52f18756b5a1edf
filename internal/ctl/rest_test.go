package ctl_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/ctl"
)

// rest is a server that answers what it is told to, by method and path, and
// remembers what it was asked.
type rest struct {
	answers map[string]string
	asked   []string
	bodies  []string
	key     string
}

func (r *rest) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	r.asked, r.bodies, r.key = append(r.asked, q.Method+" "+q.URL.RequestURI()), append(r.bodies, string(body)), q.Header.Get("Authorization")
	answer, ok := r.answers[q.Method+" "+q.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		answer = `{"code":"NOT_FOUND","reason":"NOT_FOUND","message":"nothing here"}`
	}
	_, _ = io.WriteString(w, answer)
}

// user is somebody whose contexts are in a folder of the test, with one for r.
func user(t *testing.T, r *rest) {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	t.Setenv("DIALBACK_CTL_CONFIG", filepath.Join(dir, "ctl.yaml"))
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("dbk_a_b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, "config", "set-context", "test", "--url", server.URL, "--key-file", key); code != 0 {
		t.Fatal(stderr)
	}
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, notes strings.Builder
	code = ctl.Run(t.Context(), args, &out, &notes)
	return code, out.String(), notes.String()
}

func TestResourcesAreTables(t *testing.T) {
	r := &rest{answers: map[string]string{
		"GET /v1/sessions": `{"sessions":[{"id":"1","account_id":"acme","age":"7200s","tunnels":[{"hostname":"a.test"},{"hostname":"b.test"}],"new_field":1},
			{"id":"22","account_id":"o\u001b[2J"}],"missing_nodes":["c2"]}`,
	}}
	user(t, r)
	code, stdout, stderr := run(t, "get", "sessions", "--filter", "account_id=acme")
	lines := strings.Split(stdout, "\n")
	if code != 0 || !strings.HasPrefix(lines[0], "ID  ACCOUNT") || !strings.Contains(lines[1], "2h") || !strings.Contains(lines[1], "a.test,b.test") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("a name has moved the cursor")
	}
	if !strings.Contains(stderr, "c2 has not answered") || r.key != "Bearer dbk_a_b" || !strings.Contains(r.asked[0], "filter=account_id%3Dacme") {
		t.Errorf("stderr %q, key %q, asked %q", stderr, r.key, r.asked)
	}
	for form, want := range map[string]string{"json": `"account_id": "acme"`, "yaml": "account_id: acme"} {
		if _, stdout, _ := run(t, "get", "sessions", "-o", form); !strings.Contains(stdout, want) {
			t.Errorf("%s: %s", form, stdout)
		}
	}
}

func TestFieldsBecomeTheResource(t *testing.T) {
	r := &rest{answers: map[string]string{
		"POST /v1/tokens":                  `{"token":{"id":"ci","kind":"TOKEN_KIND_API"},"api_key":"dbk_ci_secret"}`,
		"PATCH /v1/reservations/*.a.test":  `{"id":"*.a.test","description":"new"}`,
		"DELETE /v1/reservations/*.a.test": `{}`,
	}}
	user(t, r)
	code, stdout, stderr := run(t, "create", "token", "id=ci", "kind=api", "role=read-only", "valid_for=24h", "grants=bind:*.a", "grants=bind:b")
	if code != 0 || !strings.Contains(stdout, "ci  ") || strings.Contains(stdout, "secret") || !strings.Contains(stderr, "dbk_ci_secret") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(r.bodies[0]), &body); err != nil {
		t.Fatal(err)
	}
	if body["kind"] != "TOKEN_KIND_API" || body["role"] != "ROLE_READ_ONLY" || body["valid_for"] != "86400s" || len(body["grants"].([]any)) != 2 {
		t.Errorf("body: %v", body)
	}
	if code, _, stderr := run(t, "update", "reservation", "*.a.test", "description=new", "--etag", "x"); code != 0 {
		t.Error(stderr)
	}
	if last := r.asked[len(r.asked)-1]; !strings.HasSuffix(last, "update_mask=description") || !strings.Contains(r.bodies[len(r.bodies)-1], `"etag":"x"`) {
		t.Errorf("asked %s with %s", last, r.bodies[len(r.bodies)-1])
	}
	if code, stdout, _ := run(t, "delete", "reservation", "*.a.test"); code != 0 || !strings.Contains(stdout, "is gone") {
		t.Errorf("delete: exit %d, %s", code, stdout)
	}
}

func TestAnExplanationSaysWhatItFollowsFrom(t *testing.T) {
	r := &rest{answers: map[string]string{"GET /v1/explain": `{"endpoint":"app.test","verdict":{"served":true,"text":"would be served by one of 2 agents (a1, a2)"},
		"reservation":{"id":"*.test","account_id":"acme"},"ownership":{"hostname":"app.test","state":"active","account_id":"acme","pooled":true,"policy":["a password"]},
		"members":[{"agent_id":"a1","in_flight":3},{"agent_id":"a2"}],
		"attachments":[{"connector_id":"c1","session_id":"s1","current":true,"listed":true,"agent_id":"a1","reachable":true},{"connector_id":"c2","session_id":"s2","agent_id":"a2"}],
		"frontdoors":[{"frontdoor_id":"f1","known":true,"generation":"7","connections":4,"idle_connections":1,"port_problem":"address already in use","lost_for":"3s","draining":true},
			{"frontdoor_id":"f2"}],"missing_nodes":["f3"],"registry_problem":"it is away"}`}}
	user(t, r)
	code, stdout, _ := run(t, "explain", "tcp:20017")
	if code != 0 || r.asked[0] != "GET /v1/explain?url=tcp%3A20017" {
		t.Errorf("exit %d, asked %v", code, r.asked)
	}
	for _, want := range []string{
		"app.test: would be served by one of 2 agents", "registry", "it is away", "*.test, account acme", "account acme, a pool, active", "a password",
		"agent a1, 3 visitors on their way", "agent a2, 0 visitors", "through c1", "no such session", "through c2", "its lease has run out", "of an earlier owner",
		"knows generation 7", "1 of 4 connections idle", "lost 3s ago", "cannot listen: address already in use", "draining", "does not know it", "f3 has not answered within a second",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not said:\n%s", want, stdout)
		}
	}
}

func TestConnectorsAndFrontdoorsAreNodes(t *testing.T) {
	r := &rest{answers: map[string]string{
		"GET /v1/nodes":    `{"nodes":[{"id":"c-1","kind":"NODE_KIND_CONNECTOR"}]}`,
		"GET /v1/nodes/f1": `{"id":"f1","kind":"NODE_KIND_FRONTDOOR"}`,
	}}
	user(t, r)
	for args, asked := range map[string]string{
		"get connectors":                 "/v1/nodes?filter=kind%3Dconnector&page_size=500",
		"get frontdoors":                 "/v1/nodes?filter=kind%3Dfrontdoor&page_size=500",
		"get connectors --filter id=c-1": "/v1/nodes?filter=kind%3Dconnector+AND+id%3Dc-1&page_size=500",
		"get frontdoor f1":               "/v1/nodes/f1",
	} {
		code, stdout, stderr := run(t, strings.Fields(args)...)
		if got := r.asked[len(r.asked)-1]; code != 0 || got != "GET "+asked || !strings.Contains(stdout, "1") {
			t.Errorf("%s: exit %d, asked %s\n%s%s", args, code, got, stdout, stderr)
		}
	}
}

func TestMistakesAreExplainedBeforeACall(t *testing.T) {
	r := &rest{}
	user(t, r)
	for args, want := range map[string]string{
		"get cats":                         "no kind of resource; there are:",
		"create token kind=cat":            "want one of agent, api",
		"create token colour=red":          "has no field \"colour\"; there are:",
		"create token valid_for=tomorrow":  "such as 720h",
		"create session id=1":              "not created here",
		"update session 1 account_id=x":    "cannot be updated",
		"update reservation a.test id=b":   "say what to change",
		"delete node n1":                   "cannot be deleted",
		"get sessions --watch":             "no events of their own",
		"get sessions --context elsewhere": `no context "elsewhere"`,
	} {
		if code, _, stderr := run(t, strings.Fields(args)...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
	if len(r.asked) != 0 {
		t.Errorf("asked %v", r.asked)
	}
	if code, _, stderr := run(t, "get", "reservation", "a.test"); code != 1 || !strings.Contains(stderr, "nothing here") {
		t.Errorf("an error of the server: exit %d, %s", code, stderr)
	}
}

func TestAWatchShowsWhatChanges(t *testing.T) {
	r := &rest{answers: map[string]string{
		"GET /v1/tunnels":        `{"tunnels":[{"id":"a.test","account_id":"acme"}]}`,
		"GET /v1/tunnels/b.test": `{"id":"b.test","account_id":"acme","state":"CLAIM_STATE_ACTIVE"}`,
		"GET /v1/events": `{"result":{"events":[],"position":"1-1-1"}}
{"result":{"events":[{"kind":"tunnel","name":"b.test"},{"kind":"tunnel","name":"gone.test"}],"position":"1-2-1"}}
{"error":{"code":"UNAVAILABLE","reason":"UNAVAILABLE","message":"this server is stopping"}}
`,
	}}
	user(t, r)
	code, stdout, stderr := run(t, "get", "tunnels", "-w")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 1 || len(lines) != 3 || !strings.HasPrefix(lines[1], "a.test") || !strings.HasPrefix(lines[2], "b.test") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	if !strings.Contains(stderr, "gone.test is gone") || !strings.Contains(stderr, "stopping") {
		t.Errorf("stderr: %s", stderr)
	}
}

func TestTabCompletesCommandsKindsAndIDs(t *testing.T) {
	r := &rest{answers: map[string]string{"GET /v1/tunnels": `{"tunnels":[{"id":"a.test"}]}`}}
	user(t, r)
	for words, want := range map[string]string{
		"":                   "explain",
		"get":                "reservations",
		"delete tunnels":     "a.test",
		"create token":       "valid_for=",
		"config use-context": "test",
		"completion":         "fish",
	} {
		_, stdout, stderr := run(t, append([]string{"complete", "--"}, strings.Fields(words)...)...)
		if !strings.Contains("\n"+stdout, "\n"+want+"\n") {
			t.Errorf("%q: %s %s", words, stdout, stderr)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, stdout, _ := run(t, "completion", shell); code != 0 || !strings.Contains(stdout, "dialbackctl complete") {
			t.Errorf("%s: %s", shell, stdout)
		}
	}
}

func TestContextsAreSwitchedAndForgotten(t *testing.T) {
	user(t, &rest{})
	for _, step := range []struct {
		args string
		code int
		want string
	}{
		{"config set-context other --url https://api.example.com", 0, ""},
		{"config use-context other", 0, ""},
		{"config get-contexts", 0, "*        other  https://api.example.com"},
		{"config use-context none", 1, `no context "none"`},
		{"config set-context bad --url ftp://x", 1, "want a URL"},
		{"config delete-context other", 0, ""},
		{"config get-contexts", 0, "***"},
	} {
		code, stdout, stderr := run(t, strings.Fields(step.args)...)
		if code != step.code || !strings.Contains(stdout+stderr, step.want) || strings.Contains(stdout+stderr, "dbk_") {
			t.Errorf("%s: exit %d\n%s%s", step.args, code, stdout, stderr)
		}
	}
}
