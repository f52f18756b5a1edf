package agent_test

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func secureService(t *testing.T) (url string, roots []byte) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Proto))
	}))
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestAnHTTPSServiceIsVerifiedUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	url, pem := secureService(t)
	roots, err := tlsconf.LoadPool(pem)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options forward.TLSOptions
		want    proxyv1.Code
	}{
		"by the system's authorities": {forward.TLSOptions{}, proxyv1.Code_CODE_UPSTREAM_TLS},
		"by a given authority":        {forward.TLSOptions{Roots: roots}, 0},
		"not at all":                  {forward.TLSOptions{Insecure: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, err := forward.ParseUpstream(url, c.options)
			if err != nil {
				t.Fatal(err)
			}
			server := agenttest.New(t)
			server.Start()
			r := start(t, config(t, server, agent.Tunnel{Upstream: up}))
			session := server.Session(1)
			if c.want == 0 {
				if status, body := server.Visit(session, session.Tunnel(), "/"); status != 200 || body != "HTTP/1.1" {
					t.Errorf("%d %q", status, body)
				}
				return
			}
			e := server.Begin(server.DialBack(session, nil), session.Tunnel(), nil)
			if code := refusal(server.Answer(e)); code != c.want {
				t.Errorf("answers %v", code)
			}
			if report := await[agent.Upstream](r, 1); report.Code != c.want || report.Upstream.String() != url {
				t.Errorf("report %+v", report)
			}
		})
	}
}

// The owner is told which address failed and why: once, not once a visitor.
func TestAServiceThatIsDownIsReportedOnce(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	address := closed(t)
	r := start(t, config(t, server, agent.Tunnel{Upstream: upstream(t, address)}))
	session := server.Session(1)
	conn := server.DialBack(session, nil)
	for range 20 {
		e := server.Begin(conn, session.Tunnel(), nil)
		if code := refusal(server.Answer(e)); code != proxyv1.Code_CODE_UPSTREAM_REFUSED {
			t.Fatalf("answers %v", code)
		}
		_ = e.Close()
		<-e.End()
	}
	reports := all[agent.Upstream](r)
	if len(reports) != 1 || reports[0].Upstream.Address != address || !strings.Contains(reports[0].Cause, "refused") {
		t.Fatalf("reports %+v", reports)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := server.Answer(server.Begin(conn, session.Tunnel(), nil)); err != nil {
		t.Fatal(err)
	}
	if back := await[agent.Upstream](r, 2); back.Code != proxyv1.Code_CODE_OK || back.Repeated != 19 {
		t.Errorf("report %+v", back)
	}
}

// A connection that is accepted and then nothing: the time limit covers TLS too.
func TestAServiceThatDoesNotAnswerTheHandshake(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	address, _ := listen(t)
	start(t, config(t, server, agent.Tunnel{Upstream: upstream(t, "https://"+address)}))
	session := server.Session(1)
	e := server.Begin(server.DialBack(session, nil), session.Tunnel(), nil)
	if code := refusal(server.Answer(e)); code != proxyv1.Code_CODE_UPSTREAM_TLS && code != proxyv1.Code_CODE_UPSTREAM_TIMEOUT {
		t.Errorf("answers %v", code)
	}
}

// The service answers and closes while the body is still coming: the answer
// arrives whole.
func TestAnEarlyReplyArrivesWhole(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: upstream(t, l.Addr().String())}))
	session := server.Session(1)
	e := server.Begin(server.DialBack(session, nil), session.Tunnel(), nil)
	if err := e.BeginRequest(&proxyv1.Req{}); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		_, err := io.WriteString(e, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n")
		for i := 0; err == nil && i < 64; i++ {
			_, err = e.Write(make([]byte, 1<<20))
		}
		close(written) // an early reply may have ended it with an error
	}()
	_ = e.SetReadDeadline(time.Now().Add(agenttest.Limit))
	resp, err := http.ReadResponse(bufio.NewReader(e), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || len(body) != size {
		t.Errorf("%d with %d bytes, %v", resp.StatusCode, len(body), err)
	}
	_ = e.Close()
	select {
	case <-written:
	case <-time.After(agenttest.Limit):
		t.Error("the upload hangs")
	}
}

func TestParseUpstream(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"8080": "localhost:8080", "Host:80": "host:80", "http://a": "a:80", "http://a:81/": "a:81", "https://a": "https://a:443",
		"[::1]:80": "[::1]:80", "https://[::1]": "https://[::1]:443", "a": "a:80",
		"": "", "0": "", "70000": "", "ftp://a": "", "http://": "", "http://u:p@a": "", "http://a/path": "", "http://a?q": "", "a:b": "", "a b": "",
	} {
		got, err := forward.ParseUpstream(in, forward.TLSOptions{})
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v; want %q", in, got, err, want)
		}
	}
}

func TestTheServiceSeesItsVisitorGo(t *testing.T) {
	t.Parallel()
	begun, gone := make(chan struct{}), make(chan struct{})
	local := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(gone)
	}))
	t.Cleanup(local.Close)
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: upstream(t, local.URL)}))
	session := server.Session(1)
	e := server.Begin(server.DialBack(session, nil), session.Tunnel(), nil)
	if err := e.BeginRequest(&proxyv1.Req{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(e, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	e.Reset(proxyv1.Code_CODE_VISITOR_GONE)
	testkit.Eventually(t, agenttest.Limit, func() bool {
		select {
		case <-gone:
			return true
		default:
			return false
		}
	}, "the service sees its visitor go")
}
