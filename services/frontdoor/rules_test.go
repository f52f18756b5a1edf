package frontdoor_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// A service closes a kept connection just when a request is on its way. The
// agent says that none of it was delivered, so even a POST may go elsewhere.
func TestARequestThatWasNotDeliveredIsRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	var served, posts atomic.Int32
	closing := make(chan struct{})
	a := w.tunnel(app, raw(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			q, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(q.Body)
			if q.Method == http.MethodPost {
				posts.Add(1)
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			if served.Add(1) == 1 {
				<-closing
				return // the idle limit of the service
			}
		}
	}))
	get(t, w.client(), "http://"+app+"/")
	close(closing)
	for i := range 20 { // some of them meet the close
		body := strings.Repeat("b", 1000+i)
		res, err := w.client().Post("http://"+app+"/", "text/plain", strings.NewReader(body))
		fatal(t, err)
		got, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK || string(got) != body {
			t.Fatalf("post %d: %s, %d bytes", i, res.Status, len(got))
		}
	}
	if n := posts.Load(); n != 20 {
		t.Errorf("%d posts were served", n)
	}
	_ = a
}

// A connection that is lost without a word may have delivered everything: a POST
// is not repeated, a GET is.
func TestASilentLossIsRepeatedOnlyIfHTTPAllows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	var a *fakeAgent
	var posts, gets atomic.Int32
	a = w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := &gets
		if r.Method == http.MethodPost {
			n = &posts
		}
		if n.Add(1) == 1 {
			a.crash()
			<-r.Context().Done()
		}
	}))
	res, err := w.client().Post("http://"+app+"/", "text/plain", strings.NewReader("x"))
	fatal(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadGateway || posts.Load() != 1 {
		t.Errorf("POST: %s, served %d times", res.Status, posts.Load())
	}
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK || gets.Load() != 2 {
		t.Errorf("GET: %s, served %d times", res.Status, gets.Load())
	}
}

// crash cuts all of the agent's connections, as a power failure does.
func (a *fakeAgent) crash() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.clients {
		_ = c.Close()
	}
}

// NTLM and Negotiate identify a TCP connection. Who comes next on it would be
// taken for the one who logged in.
func TestAConnectionThatKnowsItsVisitorIsNotShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" && r.URL.Path == "/login" {
			rw.Header().Set("WWW-Authenticate", "NTLM")
			rw.Header().Set("Who", r.RemoteAddr)
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Who", r.RemoteAddr)
	}))
	who := func(c *http.Client, path, authorization string) string {
		q, _ := http.NewRequest(http.MethodGet, "http://"+app+path, nil)
		if authorization != "" {
			q.Header.Set("Authorization", authorization)
		}
		res, err := c.Do(q)
		fatal(t, err)
		_ = res.Body.Close()
		return res.Header.Get("Who")
	}
	ann, bob := w.client(), w.client()
	first := who(ann, "/login", "")
	if again := who(ann, "/login", "NTLM TlRMTVNTUAAB"); again != first {
		t.Errorf("the login moved from %s to %s", first, again)
	}
	if other := who(bob, "/", ""); other == first {
		t.Errorf("bob came to ann's connection %s", other)
	}
	if again := who(ann, "/", ""); again != first {
		t.Errorf("ann lost her connection: %s, want %s", again, first)
	}
	negotiated := who(bob, "/", "Negotiate abc")
	carl := w.client()
	if other := who(carl, "/", ""); other == negotiated || other == first {
		t.Errorf("carl came to another's connection %s", other)
	}
	ann.CloseIdleConnections()
	for range 5 {
		if other := who(w.client(), "/", ""); other == first {
			t.Errorf("a newcomer came to ann's connection %s", other)
		}
	}
}

// A surplus byte behind an answer, or one that comes between two requests, must
// not become the next visitor's answer. (What a service sends behind the moment
// in which it was handed the next request is that one's answer: nobody can tell.)
func TestBytesThatNobodyAskedForReachNobody(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(c net.Conn, q *http.Request){
		"surplus with the answer": func(c net.Conn, q *http.Request) {
			_, _ = io.WriteString(c, answerTo(q)+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
		},
		"408 when idle": func(c net.Conn, q *http.Request) {
			_, _ = io.WriteString(c, answerTo(q))
			time.AfterFunc(time.Millisecond, func() {
				_, _ = io.WriteString(c, "HTTP/1.1 408 Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nEVIL")
				_ = c.Close()
			})
		},
		"two lengths": func(c net.Conn, q *http.Request) {
			_, _ = io.WriteString(c, strings.Replace(answerTo(q), "\r\n", "\r\nX-A: b\r\n", 1)+"EVIL")
		},
		"body behind 304": func(c net.Conn, q *http.Request) {
			_, _ = io.WriteString(c, "HTTP/1.1 304 Not Modified\r\nX-Path: "+q.URL.Path+"\r\n\r\nEVIL")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{})
			w.tunnel(app, raw(t, func(c net.Conn) {
				br := bufio.NewReader(c)
				for {
					q, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, q.Body)
					behave(c, q)
				}
			}))
			var visitors sync.WaitGroup
			for v := range 8 {
				visitors.Go(func() {
					client := w.client()
					for i := range 20 {
						path := fmt.Sprintf("/visitor-%d-%d", v, i)
						res, err := client.Get("http://" + app + path)
						if err != nil {
							t.Error(err)
							return
						}
						body, _ := io.ReadAll(res.Body)
						_ = res.Body.Close()
						ours := res.Header.Get("Dialback-Error") != ""
						if !ours && (res.Header.Get("X-Path") != path || res.StatusCode == http.StatusOK && string(body) != path) {
							t.Errorf("%s got %s %q of %s", path, res.Status, body, res.Header.Get("X-Path"))
						}
					}
				})
			}
			visitors.Wait()
		})
	}
}

// A private connection on which a service speaks out of turn is ended before
// anybody gets it.
func TestAnIdleConnectionThatSpeaksIsEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	ended := make(chan struct{}, 16)
	w.tunnel(app, raw(t, func(c net.Conn) {
		q, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, answerTo(q))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
		_, _ = io.Copy(io.Discard, c)
		ended <- struct{}{}
	}))
	for i := range 5 {
		path := fmt.Sprintf("/%d", i)
		if res, body := get(t, w.client(), "http://"+app+path); body != path {
			t.Errorf("%s got %s %q", path, res.Status, body)
		}
		select {
		case <-ended:
		case <-time.After(limit):
			t.Fatal("the connection lives on")
		}
	}
}

func answerTo(q *http.Request) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Path: %s\r\n\r\n%s", len(q.URL.Path), q.URL.Path, q.URL.Path)
}

// What is behind a body whose end could be seen elsewhere is not read as a
// request, and both lengths never get to the service.
func TestNoRequestIsSmuggled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	var mu sync.Mutex
	var seen []string
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%s %s %d %v %q", r.Method, r.URL.Path, r.ContentLength, r.TransferEncoding, body))
	}))
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: " + app + "\r\n\r\n"
	for name, text := range map[string]string{
		"CL.TE": fmt.Sprintf("POST /first HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", app, 5+len(smuggled), smuggled),
		"TE.CL": fmt.Sprintf("POST /first HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", app, len(smuggled), smuggled),
		"1.0":   fmt.Sprintf("POST /first HTTP/1.0\r\nHost: %s\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n%s", app, smuggled),
	} {
		conn, err := net.Dial("tcp", w.front.HTTPAddr().String())
		fatal(t, err)
		_ = conn.SetDeadline(time.Now().Add(limit))
		_, _ = io.WriteString(conn, text)
		all, _ := io.ReadAll(conn) // it is closed behind the first answer
		_ = conn.Close()
		if n := strings.Count(string(all), "HTTP/1."); n != 1 {
			t.Errorf("%s: %d answers", name, n)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, s := range seen {
		if strings.HasPrefix(s, "GET /smuggled") {
			t.Errorf("the service got %s", s)
		}
	}
	if len(seen) != 3 {
		t.Errorf("the service got %q", seen)
	}
}

// After a revocation nothing lives on; after any other end what is under way
// finishes and what is idle ends.
func TestTheEndOfASessionReachesTheDataPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason agentv1.CloseReason
		cut    bool
	}{
		{agentv1.CloseReason_CLOSE_REASON_REVOKED, true},
		{agentv1.CloseReason_CLOSE_REASON_DELETED, true},
		{agentv1.CloseReason_CLOSE_REASON_UNRESPONSIVE, false},
		{agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED, false},
	} {
		t.Run(c.reason.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.Hold = 50 * time.Millisecond }})
			finish := make(chan struct{})
			a := w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/stream" {
					_, _ = io.WriteString(rw, "begin ")
					_ = http.NewResponseController(rw).Flush()
					select {
					case <-finish:
					case <-r.Context().Done():
					}
					_, _ = io.WriteString(rw, "end")
				}
			}))
			res, err := w.client().Get("http://" + app + "/stream")
			fatal(t, err)
			defer res.Body.Close()
			_, err = io.ReadFull(res.Body, make([]byte, 6))
			fatal(t, err)
			get(t, w.client(), "http://"+app+"/") // its connection is idle now
			if n := a.conns(); n != 2 {
				t.Fatalf("%d proxy connections", n)
			}
			w.registry.mu.Lock()
			w.registry.silent = true // the registry says nothing of it
			w.registry.mu.Unlock()
			w.connectors["c1"].end(a, "session-"+a.id, c.reason)
			left := 1
			if c.cut {
				left = 0
			}
			testkit.Eventually(t, limit, func() bool { return a.conns() == left }, "connections end")
			close(finish)
			rest, err := io.ReadAll(res.Body)
			if c.cut != (err != nil) || !c.cut && string(rest) != "end" {
				t.Errorf("the stream ended with %q, %v", rest, err)
			}
			if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("the endpoint still answers %s", res.Status)
			}
		})
	}
}

// An agent that has another session is as it was: its connections are no worse
// for the loss.
func TestTheEndOfOneOfTwoSessionsCostsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	local := upstream(t, func(http.ResponseWriter, *http.Request) {})
	only, a := w.tunnel("only."+domain, local), w.agent(local)
	for _, c := range []*fakeConnector{w.connectors["c1"], w.connector("c2")} {
		w.attach(c, a, app)
	}
	w.registry.put(claimChange(a, app, nil), attachChange(app, "c1", "session-"+a.id), attachChange(app, "c2", "session-"+a.id))
	get(t, w.client(), "http://"+app+"/")
	get(t, w.client(), "http://only."+domain+"/")
	for _, lost := range []*fakeAgent{a, only} {
		w.connectors["c1"].end(lost, "session-"+lost.id, agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	}
	testkit.Eventually(t, limit, func() bool { return only.conns() == 0 }, "the loss of the only session, said last, is heard")
	get(t, w.client(), "http://"+app+"/")
	if a.conns() != 1 || a.dialled() != 1 {
		t.Errorf("%d proxy connections, dialled %d times", a.conns(), a.dialled())
	}
}

// The first attachment's connector says that it asked and nobody comes: the same
// ticket goes through the other one, long before the deadline.
func TestTheOtherAttachmentHelps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.agent(upstream(t, func(http.ResponseWriter, *http.Request) {}))
	for name, c := range map[string]*fakeConnector{"a": w.connector("c1"), "b": w.connector("c2")} {
		c.mute = name == "a"
		w.attach(c, a, app)
	}
	w.registry.put(claimChange(a, app, nil), attachChange(app, "c1", "session-"+a.id), attachChange(app, "c2", "session-"+a.id))
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
		t.Errorf("muted first attachment: %s", res.Status)
	}
	if w.connectors["c1"].requests() != 1 || w.connectors["c2"].requests() != 1 || a.dialled() != 1 {
		t.Errorf("asked %d and %d times, dialled %d", w.connectors["c1"].requests(), w.connectors["c2"].requests(), a.dialled())
	}
	// A connector that has gone is the last choice from the moment that its stream breaks.
	w.service("c1").stop()
	testkit.Eventually(t, limit, func() bool { return !w.connectors["c1"].watched() }, "c1 is down")
	a.crash()
	testkit.Eventually(t, limit, func() bool { return a.conns() == 0 }, "no connection is left")
	began := time.Now()
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
		t.Errorf("dead first attachment: %s", res.Status)
	}
	t.Logf("over the other attachment in %v", time.Since(began))
}

// Visitors wait for an agent that is away for a moment, and for no longer.
func TestVisitorsAreHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.Hold = limit }})
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	get(t, w.client(), "http://"+app+"/")
	w.connectors["c1"].end(a, "session-"+a.id, agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	testkit.Eventually(t, limit, func() bool { return a.conns() == 0 }, "idle connections end")
	const visitors = 20
	done := make(chan int, visitors)
	for range visitors {
		go func() {
			res, err := w.client().Get("http://" + app + "/")
			if err != nil {
				done <- 0
				return
			}
			_ = res.Body.Close()
			done <- res.StatusCode
		}()
	}
	select {
	case status := <-done:
		t.Fatalf("not held: %d", status)
	case <-time.After(100 * time.Millisecond):
	}
	c2 := w.connector("c2")
	w.attach(c2, a, app)
	w.registry.put(attachChange(app, "c2", "session-"+a.id))
	for range visitors {
		if status := <-done; status != 200 {
			t.Errorf("a held visitor got %d", status)
		}
	}
	w.registry.put(&registryv1.Change{Change: &registryv1.Change_ClaimRemoved{ClaimRemoved: app}})
	testkit.Eventually(t, limit, func() bool {
		res, _ := get(t, w.client(), "http://"+app+"/")
		return res.StatusCode == http.StatusNotFound
	}, "a closed endpoint is gone")
}

// The mapping says that there is a session, its connector says that there is
// none: the visitor waits for the next one, as if the loss were known.
func TestVisitorsAreHeldBehindARouteThatIsStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.Hold = limit }})
	c1, c2 := w.connector("c1"), w.connector("c2")
	a := w.agent(upstream(t, func(http.ResponseWriter, *http.Request) {}))
	w.attach(c2, a, app)
	w.registry.put(claimChange(a, app, nil), attachChange(app, "c1", "session-"+a.id))
	done := make(chan string, 1)
	go func() {
		res, err := w.client().Get("http://" + app + "/")
		if err != nil {
			done <- err.Error()
			return
		}
		_ = res.Body.Close()
		done <- res.Status
	}()
	testkit.Eventually(t, limit, func() bool { return c1.requests() > 0 }, "the first connector is asked")
	w.registry.put(attachChange(app, "c2", "session-"+a.id))
	if status := <-done; status != "200 OK" {
		t.Errorf("the held visitor got %s", status)
	}
}

// A refusal costs no connection: a service that is down must not cost a
// handshake for every visitor.
func TestARefusalKeepsTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.tunnel(app, "")
	for range 10 {
		if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusBadGateway {
			t.Fatal(res.Status)
		}
	}
	if n := a.dialled(); n > 3 {
		t.Errorf("%d dial-backs for 10 refusals", n)
	}
	a.forwardTo(upstream(t, func(http.ResponseWriter, *http.Request) {}))
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
		t.Errorf("when the service is up: %s", res.Status)
	}
}

// A dial-back whose visitor has gone serves the next one.
func TestADialbackIsNotWasted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	a.slow = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		testkit.Eventually(t, limit, func() bool { return a.dialled() == 1 }, "the agent is asked")
		cancel()
	}()
	q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+app+"/", nil)
	if _, err := w.client().Do(q); err == nil {
		t.Fatal("answered")
	}
	c := w.connectors["c1"]
	c.mu.Lock()
	c.mute = true // nobody is asked from now on: there is no other connection to be had
	c.mu.Unlock()
	close(a.slow)
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK || a.dialled() != 1 {
		t.Errorf("the next visitor: %s after %d dial-backs", res.Status, a.dialled())
	}
}

// The registry dies: what is known is served. It comes back with nothing but
// claims, for all leases have run out meanwhile: nothing is removed.
func TestAnOutageOfTheRegistryEmptiesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	get(t, w.client(), "http://"+app+"/")
	w.service("registry").stop()
	a.crash()
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
		t.Errorf("without a registry: %s", res.Status)
	}
	w.registry.put(
		&registryv1.Change{Change: &registryv1.Change_AttachmentVanished{AttachmentVanished: attachment(app, "c1", "session-"+a.id)}},
		&registryv1.Change{Change: &registryv1.Change_NodeRemoved{NodeRemoved: &registryv1.NodeRemoved{
			Kind: registryv1.NodeKind_NODE_KIND_CONNECTOR, Id: "c1",
		}}},
		claimChange(a, "marker."+domain, nil), // tells that all this has arrived
	)
	w.service("registry").restart()
	testkit.Eventually(t, limit, func() bool {
		res, _ := get(t, w.client(), "http://marker."+domain+"/")
		return res.StatusCode == http.StatusServiceUnavailable
	}, "the registry is followed again")
	a.crash()
	testkit.Eventually(t, limit, func() bool { return a.conns() == 0 }, "no connection is left")
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
		t.Errorf("after the outage: %s", res.Status)
	}
}
