package frontdoor_test

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// raw is a local service that does with each connection what serve does.
func raw(t *testing.T, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

func readHead(c net.Conn) {
	var seen strings.Builder
	b := make([]byte, 1)
	for !strings.HasSuffix(seen.String(), "\r\n\r\n") {
		if _, err := c.Read(b); err != nil {
			return
		}
		seen.Write(b)
	}
}

// closedPort is an address that nobody listens on.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	_ = l.Close()
	return l.Addr().String()
}

// Each world has one limit that is short, or none: on a slow machine another leg's
// would be reached first.
func TestEachLegThatFailsHasItsCode(t *testing.T) {
	t.Parallel()
	patient := newBrokenWorld(t, func(*frontdoor.Config) {})
	noAnswer := newBrokenWorld(t, func(c *frontdoor.Config) { c.AnswerTimeout = 300 * time.Millisecond })
	noAgent := newBrokenWorld(t, func(c *frontdoor.Config) { c.Hold = 300 * time.Millisecond })
	noDialback := newBrokenWorld(t, func(c *frontdoor.Config) { c.DialbackTimeout = 500 * time.Millisecond })
	for _, c := range []struct {
		w      *world
		host   string
		status int
		code   string
	}{
		{patient, "nobody", 404, "ENDPOINT_NOT_FOUND"},
		{patient, "refused", 502, "UPSTREAM_REFUSED"},
		{patient, "garbage", 502, "UPSTREAM_BAD_REPLY"},
		{patient, "longhead", 502, "UPSTREAM_BAD_REPLY"},
		{patient, "resets", 502, "UPSTREAM_BAD_REPLY"},
		{noAnswer, "silent", 504, "UPSTREAM_TIMEOUT"},
		{patient, "unsupported", 503, "OPTION_UNSUPPORTED"},
		{noAgent, "offline", 503, "AGENT_OFFLINE"},
		{noAgent, "nosession", 503, "AGENT_OFFLINE"},
		{noDialback, "never", 504, "DIALBACK_TIMEOUT"},
		{noDialback, "failing", 504, "DIALBACK_TIMEOUT"},
	} {
		t.Run(c.host, func(t *testing.T) {
			t.Parallel()
			q, _ := http.NewRequest(http.MethodPost, "http://"+c.host+"."+domain+"/", strings.NewReader("x"))
			q.Header.Set("Accept", "application/json")
			res, err := c.w.client().Do(q)
			fatal(t, err)
			defer res.Body.Close()
			var page struct{ Code, Message, TraceID string }
			body, _ := io.ReadAll(res.Body)
			fatal(t, json.Unmarshal(body, &page))
			if res.StatusCode != c.status || page.Code != c.code || res.Header.Get("Dialback-Error") != c.code {
				t.Errorf("%d %s, want %d %s", res.StatusCode, body, c.status, c.code)
			}
			if strings.Contains(string(body), "127.0.0.1") || !strings.Contains(string(body), `"trace_id":"`) {
				t.Errorf("page: %s", body)
			}
			if (c.status == 503 && c.code != "OPTION_UNSUPPORTED") != (res.Header.Get("Retry-After") != "") {
				t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
			}
		})
	}
}

// newBrokenWorld is one with endpoints of which each fails in its own way.
func newBrokenWorld(t *testing.T, config func(*frontdoor.Config)) *world {
	w := newWorld(t, worldOptions{config: config})
	w.tunnel("refused."+domain, closedPort(t))
	w.tunnel("garbage."+domain, raw(t, func(c net.Conn) { readHead(c); _, _ = io.WriteString(c, "SSH-2.0-x\r\n\r\n") }))
	w.tunnel("silent."+domain, raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	w.tunnel("resets."+domain, raw(t, func(c net.Conn) { readHead(c); _ = c.(*net.TCPConn).SetLinger(0) }))
	w.tunnel("longhead."+domain, raw(t, func(c net.Conn) {
		readHead(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	}))
	unsupported := w.agent("")
	w.registry.put(claimChange(unsupported, "unsupported."+domain, nil, "mtls"), attachChange("unsupported."+domain, "c1", "s"))
	offline := w.agent("")
	w.registry.put(claimChange(offline, "offline."+domain, nil))
	ended := w.agent("")
	w.registry.put(claimChange(ended, "nosession."+domain, nil), attachChange("nosession."+domain, "c1", "no-such-session"))
	mute := w.connector("c2")
	mute.mute = true
	never := w.agent("")
	w.attach(mute, never, "")
	w.registry.put(claimChange(never, "never."+domain, nil), attachChange("never."+domain, "c2", "session-"+never.id))
	failing := w.agent("")
	failing.fail = agentv1.FailReason_FAIL_REASON_TLS
	w.attach(w.connectors["c1"], failing, "")
	w.registry.put(claimChange(failing, "failing."+domain, nil), attachChange("failing."+domain, "c1", "session-"+failing.id))
	return w
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) { t.Errorf("forwarded: %s %s", r.Method, r.RequestURI) }))
	for name, c := range map[string]struct {
		head   string
		status int
	}{
		"connect":       {"CONNECT " + app + ":443 HTTP/1.1\r\nHost: " + app + "\r\n\r\n", 405},
		"trace":         {"TRACE / HTTP/1.1\r\nHost: " + app + "\r\n\r\n", 405},
		"absolute":      {"GET http://" + app + "/ HTTP/1.1\r\nHost: " + app + "\r\n\r\n", 400},
		"other host":    {"GET http://evil.test/ HTTP/1.1\r\nHost: " + app + "\r\n\r\n", 400},
		"two hosts":     {"GET / HTTP/1.1\r\nHost: " + app + "\r\nHost: evil.test\r\n\r\n", 400},
		"no host":       {"GET / HTTP/1.1\r\n\r\n", 400},
		"address":       {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400},
		"bad host":      {"GET / HTTP/1.1\r\nHost: a_b/c\r\n\r\n", 400},
		"two lengths":   {"POST / HTTP/1.1\r\nHost: " + app + "\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400},
		"signed length": {"POST / HTTP/1.1\r\nHost: " + app + "\r\nContent-Length: +1\r\n\r\nx", 400},
		"odd encoding":  {"POST / HTTP/1.1\r\nHost: " + app + "\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		"two encodings": {"POST / HTTP/1.1\r\nHost: " + app + "\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501},
		"space name":    {"GET / HTTP/1.1\r\nHost: " + app + "\r\nContent-Length : 5\r\n\r\n", 400},
		"long head":     {"GET / HTTP/1.1\r\nHost: " + app + "\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", 431},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", w.front.HTTPAddr().String())
			fatal(t, err)
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(limit))
			_, _ = io.WriteString(conn, c.head)
			answer, _ := io.ReadAll(io.LimitReader(conn, 12))
			if want := fmt.Sprintf("HTTP/1.1 %d", c.status); string(answer) != want {
				t.Errorf("%q, want %q", answer, want)
			}
		})
	}
}

func TestAConnectionIsForTheNamesOfItsCertificate(t *testing.T) {
	t.Parallel()
	var other frontdoor.CertFile
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) {
		c.Certificates = append(c.Certificates, other)
		c.Certificates = c.Certificates[:1]
	}})
	w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	w.tunnel("foreign.test", upstream(t, func(http.ResponseWriter, *http.Request) {}))
	q, _ := http.NewRequest(http.MethodGet, "https://x."+domain+"/", nil)
	q.Host = app // another name of the same certificate: browsers do it
	res, err := w.client("h2").Do(q)
	fatal(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("a name of the same certificate: %s", res.Status)
	}
	q.Host = "foreign.test"
	res, err = w.client("h2").Do(q)
	fatal(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a name of no certificate: %s", res.Status)
	}
}

func basicAuthOptions(t *testing.T, user, password string) []byte {
	salt := []byte("0123456789abcdef")
	hash, err := pbkdf2.Key(sha256.New, password, salt, 100_000, 32)
	fatal(t, err)
	b, err := proto.Marshal(&agentv1.EndpointOptions{BasicAuth: []*agentv1.BasicAuth{{Username: user, Salt: salt, Hash: hash}}})
	fatal(t, err)
	return b
}

func TestAnEndpointAsksForItsPassword(t *testing.T) {
	t.Parallel()
	began := time.Now()
	w := newWorld(t, worldOptions{deps: func(d *frontdoor.Deps) {
		d.Now = func() time.Time { return began } // a slow machine gives nobody more guesses
	}})
	c := w.connector("c1")
	a := w.agent(upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "secret"+r.Header.Get("Authorization"))
	}))
	w.attach(c, a, app)
	w.registry.put(claimChange(a, app, basicAuthOptions(t, "ann", "good"), "basic_auth"), attachChange(app, "c1", "session-"+a.id))
	try := func(user, password string) (*http.Response, string) {
		q, _ := http.NewRequest(http.MethodGet, "http://"+app+"/", nil)
		if user != "" {
			q.SetBasicAuth(user, password)
		}
		res, err := w.client().Do(q)
		fatal(t, err)
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res, string(body)
	}
	testkit.Eventually(t, limit, func() bool { res, _ := try("", ""); return res.StatusCode == http.StatusUnauthorized }, "the endpoint is known")
	if res, _ := try("", ""); res.Header.Get("Dialback-Error") != "AUTH_REQUIRED" || !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic realm=") {
		t.Errorf("%v", res.Header)
	}
	for range 3 {
		if res, body := try("ann", "good"); res.StatusCode != http.StatusOK || body != "secret" {
			t.Errorf("%s %q", res.Status, body)
		}
	}
	limited := false
	for range 20 {
		res, _ := try("ann", "bad")
		if limited = res.StatusCode == http.StatusTooManyRequests; limited {
			break
		}
		if res.StatusCode != http.StatusUnauthorized {
			t.Fatal(res.Status)
		}
	}
	if !limited {
		t.Error("guessing is not slowed down")
	}
	if res, _ := try("ann", "good"); res.StatusCode != http.StatusOK {
		t.Errorf("who has the password is locked out: %s", res.Status)
	}
}
