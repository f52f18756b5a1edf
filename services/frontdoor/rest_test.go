package frontdoor_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// restWorld is a world whose frontdoor serves REST.
func restWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.APIListen, c.APIRate = "127.0.0.1:0", 10_000 }})
}

// api calls REST and reads the answer, which is JSON.
func (w *world) api(method, path, key string) (status int, answer map[string]any) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.front.APIAddr().String()+path, http.NoBody)
	fatal(w.t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	fatal(w.t, err)
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		w.t.Fatalf("%s %s: %s, %v", method, path, res.Status, err)
	}
	return res.StatusCode, answer
}

func sessionID(n int) string { return fmt.Sprintf("%032x", n) }

func TestRESTWantsAKeyOfTheRole(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	c := w.connector("c1")
	c.sessions[sessionID(1)] = w.agent("")
	for _, x := range []struct {
		method, path, key string
		status            int
		reason            string
	}{
		{"GET", "/v1/sessions", "", 401, "TOKEN_MISSING"},
		{"GET", "/v1/sessions", "dbk_expired", 401, "TOKEN_EXPIRED"},
		{"DELETE", "/v1/sessions/" + sessionID(1), "dbk_reader", 403, "PERMISSION_DENIED"},
		{"GET", "/v1/sessions?filter=account_id%3Dother", "dbk_reader", 403, "PERMISSION_DENIED"},
		{"GET", "/v1/sessions/" + sessionID(1), "dbk_other", 404, "NOT_FOUND"},
		{"DELETE", "/v1/sessions/" + sessionID(1), "dbk_other", 404, "NOT_FOUND"},
		{"GET", "/v1/sessions?filter=color%3Dred", "dbk_reader", 400, "INVALID_ARGUMENT"},
		{"GET", "/v1/sessions/" + sessionID(1), "dbk_reader", 200, ""},
		{"DELETE", "/v1/sessions/" + sessionID(1), "dbk_owner", 200, ""},
		{"GET", "/v1/sessions/" + sessionID(1), "dbk_admin", 404, "NOT_FOUND"},
	} {
		status, answer := w.api(x.method, x.path, x.key)
		if reason, _ := answer["reason"].(string); status != x.status || reason != x.reason {
			t.Errorf("%s %s as %q: %d %v", x.method, x.path, x.key, status, answer)
		}
	}
}

func TestWhatIsNoHostnameIsSaidSo(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	for name, why := range map[string]string{
		"..": "", "a..test": "", ".test": "", "a_b.test": "", "-a.test": "", "a%00b.test": "", "a%20b.test": "", "*.test": "", "192.0.2.1": "",
		strings.Repeat("a", 64) + ".test": "", strings.Repeat("a.", 126) + "test": "too long", "xn--0.test": "", "\u0430\u0301\u202e.test": "", "https://": "",
	} {
		status, answer := w.api("GET", "/v1/explain?url="+strings.ReplaceAll(url.QueryEscape(name), "%25", "%"), "dbk_reader")
		fields, _ := answer["fields"].([]any)
		if status != http.StatusBadRequest || len(fields) != 1 || fields[0].(map[string]any)["field"] != "url" ||
			!strings.Contains(answer["message"].(string), why) {
			t.Errorf("%q: %d %v", name, status, answer)
		}
	}
	if status, answer := w.api("GET", "/v1/explain?url=b%C3%BCcher.test", "dbk_reader"); status != http.StatusOK || answer["endpoint"] != "xn--bcher-kva.test" {
		t.Errorf("an international name: %d %v", status, answer)
	}
}

func TestSessionsOfAllConnectorsAreOneListInPages(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	agent := w.agent("")
	for i := range 2 {
		c := w.connector(fmt.Sprintf("c%d", i+1))
		c.mu.Lock()
		for n := range 3 {
			c.sessions[sessionID(2*n+i)] = agent
		}
		c.mu.Unlock()
	}
	var seen []string
	for page, path := 0, "/v1/sessions?page_size=2"; ; page++ {
		status, answer := w.api("GET", path, "dbk_reader")
		if status != http.StatusOK || page > 5 {
			t.Fatalf("page %d: %d %v", page, status, answer)
		}
		for _, s := range answer["sessions"].([]any) {
			seen = append(seen, s.(map[string]any)["id"].(string))
		}
		token := answer["next_page_token"].(string)
		if token == "" {
			break
		}
		path = "/v1/sessions?page_size=2&page_token=" + token
	}
	var want []string
	for n := range 6 {
		want = append(want, sessionID(n))
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
}

func TestAConnectorThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	agent := w.agent("")
	good, stuck := w.connector("c1"), w.connector("c2")
	good.mu.Lock()
	good.sessions[sessionID(1)] = agent
	good.mu.Unlock()
	stuck.mu.Lock()
	stuck.stuck = true
	stuck.mu.Unlock()
	status, answer := w.api("GET", "/v1/sessions", "dbk_reader")
	if status != http.StatusOK || len(answer["sessions"].([]any)) != 1 || fmt.Sprint(answer["missing_nodes"]) != "[c2]" {
		t.Errorf("%d %v", status, answer)
	}
	if status, answer = w.api("GET", "/v1/sessions/"+sessionID(2), "dbk_reader"); status != http.StatusServiceUnavailable {
		t.Errorf("one that may be there: %d %v", status, answer)
	}
}

// verdict explains a name to a user.
func (w *world) verdict(name, key string) (text string, answer map[string]any) {
	w.t.Helper()
	status, answer := w.api("GET", "/v1/explain?url="+name, key)
	if status != http.StatusOK {
		w.t.Fatalf("explain: %d %v", status, answer)
	}
	return answer["verdict"].(map[string]any)["text"].(string), answer
}

func TestExplainSaysWhatWouldHappen(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	name := "web." + domain
	if text, _ := w.verdict(name, "dbk_reader"); !strings.Contains(text, "404 because nobody has") {
		t.Errorf("before: %s", text)
	}
	agent := w.tunnel(name, "")
	testkit.Eventually(t, limit, func() bool {
		_, answer := w.verdict(name, "dbk_reader")
		return answer["frontdoors"].([]any)[0].(map[string]any)["known"] == true
	}, "the frontdoor knows the route")
	text, answer := w.verdict("https://"+name+"/path?x=1", "dbk_reader")
	if !strings.Contains(text, "would be served by agent "+agent.id) {
		t.Errorf("served: %s", text)
	}
	if way := answer["attachments"].([]any)[0].(map[string]any); way["reachable"] != true || way["session"] == nil || way["listed"] != true {
		t.Errorf("attachment: %v", way)
	}
	if here := answer["frontdoors"].([]any)[0].(map[string]any); here["known"] != true || here["frontdoor_id"] != w.front.NodeID() {
		t.Errorf("frontdoor: %v", here)
	}
	text, answer = w.verdict(name, "dbk_other")
	if !strings.Contains(text, "404 because nobody has") || answer["ownership"] != nil || len(answer["attachments"].([]any)) != 0 ||
		answer["frontdoors"].([]any)[0].(map[string]any)["known"] != false {
		t.Errorf("another account's: %v", answer)
	}
	c := w.connectors["c1"]
	c.mu.Lock()
	c.stuck = true
	c.mu.Unlock()
	text, answer = w.verdict(name, "dbk_admin")
	if !strings.Contains(text, "503 because") || !strings.Contains(text, "does not answer") || len(answer["missing_nodes"].([]any)) != 1 {
		t.Errorf("stuck: %s %v", text, answer["missing_nodes"])
	}
	c.mu.Lock()
	c.stuck = false
	c.mu.Unlock()
	c.mu.Lock()
	delete(c.sessions, "session-"+agent.id)
	c.mu.Unlock()
	if text, _ = w.verdict(name, "dbk_admin"); !strings.Contains(text, "has no such session any more") {
		t.Errorf("ended: %s", text)
	}
}

func TestRESTIsServedUnderTheSystemsNameByTLSAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.APIPublic = true }})
	get := func(scheme, address string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+address+"/v1/sessions", http.NoBody)
		fatal(t, err)
		req.Host = "api." + domain
		res, err := w.client("http/1.1").Do(req)
		fatal(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		fatal(t, err)
		return res, string(body)
	}
	if res, body := get("https", "api."+domain); res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "TOKEN_MISSING") {
		t.Errorf("by TLS: %s %s", res.Status, body)
	}
	if res, body := get("http", w.front.HTTPAddr().String()); res.Header.Get("Dialback-Error") == "" {
		t.Errorf("in clear text: %s %s", res.Status, body)
	}
}
