package proxyconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// dialTo is a handler that connects each exchange with a listening service.
func dialTo(addr string, obs RequestObserver) Handler {
	return func(ctx context.Context, e *ClientExchange) {
		var d net.Dialer
		private, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			_ = e.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
			return
		}
		if e.Accept(time.Millisecond) == nil {
			_ = e.Pipe(private, obs)
		}
	}
}

// visitor does HTTP requests over exchanges of one connection, the way a
// frontdoor does: one private connection for as long as keep-alive allows.
type visitor struct {
	t         testing.TB
	s         *Server
	transport *http.Transport

	mu        sync.Mutex
	exchanges []*ServerExchange
}

func newVisitor(t testing.TB, s *Server) *visitor {
	v := &visitor{t: t, s: s}
	v.transport = &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			for !s.Idle() { // a former exchange may be about to end
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-s.Done():
					return nil, s.Err()
				case <-time.After(time.Millisecond):
				}
			}
			e, err := s.Start(ctx, &proxyv1.Start{TunnelId: "t", Url: "http://x.test", Protocol: protoHTTP})
			if err == nil {
				v.mu.Lock()
				v.exchanges = append(v.exchanges, e)
				v.mu.Unlock()
			}
			return e, err
		},
	}
	t.Cleanup(v.transport.CloseIdleConnections)
	return v
}

// do announces the request before the transport writes it.
func (v *visitor) do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), patience)
	v.t.Cleanup(cancel)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if err := info.Conn.(*ServerExchange).BeginRequest(&proxyv1.Req{SpanId: []byte("12345678")}); err != nil {
				v.t.Errorf("BeginRequest: %v", err)
			}
		},
	})
	return v.transport.RoundTrip(req.WithContext(ctx))
}

func (v *visitor) get(path, body string) string {
	v.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://x.test"+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	resp, err := v.do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(got))
}

func (v *visitor) exchange(i int) *ServerExchange {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.exchanges[i]
}

// observed is what a RequestObserver was told.
type observed struct {
	mu    sync.Mutex
	begun []*proxyv1.Req
	calls []string
	stats []RequestStats
	ended chan struct{}
}

func (o *observed) RequestBegin(req *proxyv1.Req) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = append(o.begun, req)
	o.calls = append(o.calls, "begin")
}

func (o *observed) ReplyBegin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "reply")
}

func (o *observed) RequestEnd(s RequestStats) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "end")
	o.stats = append(o.stats, s)
	o.ended <- struct{}{}
}

func TestHTTPKeepAliveUsesOneExchange(t *testing.T) {
	t.Parallel()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "hello %s%s", r.URL.Path, body)
	}))
	defer service.Close()
	obs := &observed{ended: make(chan struct{}, 100)}
	s, _ := pair(t, dialTo(service.Listener.Addr().String(), obs))
	v := newVisitor(t, s)
	for i := range 10 {
		body := strings.Repeat("x", i*30_000)
		if got, want := v.get(fmt.Sprintf("/%d", i), body), fmt.Sprintf("200 hello /%d%s", i, body); got != want {
			t.Fatalf("request %d: %d bytes, want %d", i, len(got), len(want))
		}
	}
	if n := len(v.exchanges); n != 1 {
		t.Fatalf("%d exchanges, want 1", n)
	}
	e := v.exchange(0)
	e.EndRequest()
	v.transport.CloseIdleConnections()
	if o := ended(t, e); o.Kind != Clean || !o.Reusable {
		t.Fatalf("an HTTP exchange closed between requests: %+v", o)
	}
	for range 10 {
		await(t, obs.ended, "RequestEnd")
	}
	obs.mu.Lock()
	defer obs.mu.Unlock()
	if got := strings.Join(obs.calls, " "); got != strings.TrimSpace(strings.Repeat("begin reply end ", 10)) {
		t.Fatalf("observer saw %q", got)
	}
	for i, st := range obs.stats {
		if obs.begun[i].GetNumber() != uint64(i+1) || st.Err != nil {
			t.Errorf("request %d: %v, %+v", i, obs.begun[i], st)
		}
		if body := uint64(i * 30_000); st.In < body || st.In > body+500 || st.Out < body || st.Out > body+5000 {
			t.Errorf("request %d of %d bytes: %+v", i, body, st)
		}
	}
}

func TestHTTPEarlyReplyArrivesWholeWhileTheBodyStillComes(t *testing.T) {
	t.Parallel()
	reply := strings.Repeat("too large ", 50_000)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Length", fmt.Sprint(len(reply)))
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, reply)
	}))
	defer service.Close()
	s, _ := pair(t, dialTo(service.Listener.Addr().String(), nil))
	for range 3 { // the connection survives each
		v := newVisitor(t, s)
		if got := v.get("/", strings.Repeat("u", 20<<20)); got != "413 "+reply {
			t.Fatalf("%d bytes of reply: %.40s", len(got), got)
		}
		v.transport.CloseIdleConnections()
		if o := ended(t, v.exchange(0)); !o.Reusable {
			t.Fatalf("outcome %+v", o)
		}
	}
}

func TestHTTPUpgradeIsHalfClosedEndToEnd(t *testing.T) {
	t.Parallel()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		all, _ := io.ReadAll(rw) // up to the visitor's half-close
		_, _ = c.Write(all)
	}))
	defer service.Close()
	s, _ := pair(t, dialTo(service.Listener.Addr().String(), nil))
	e := start(t, s, protoHTTP)
	if err := e.BeginRequest(&proxyv1.Req{}); err != nil {
		t.Fatal(err)
	}
	_, err := io.WriteString(e, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(e)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	if _, err := io.WriteString(e, "after the upgrade"); err != nil {
		t.Fatal(err)
	}
	if err := e.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(br)
	if err != nil || string(got) != "after the upgrade" {
		t.Fatalf("%q, %v", got, err)
	}
	if o := ended(t, e); o.Kind != Clean {
		t.Fatalf("%+v", o)
	}
}

// A service that speaks without being asked, as one does that answers 408 to an
// idle connection, must not give its words to the next visitor.
func TestHTTPUnsolicitedReplyReachesNobody(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	s, _ := pair(t, pipeTo(t, services))
	e := start(t, s, protoHTTP)
	request := func(body string) error {
		if err := e.BeginRequest(&proxyv1.Req{}); err != nil {
			return err
		}
		_, err := io.WriteString(e, body)
		return err
	}
	if err := request("request 1"); err != nil {
		t.Fatal(err)
	}
	service := await(t, services, "private connection")
	buf := make([]byte, 100)
	n, _ := service.Read(buf)
	_, _ = service.Write(append(buf[:n], " answered"...))
	if n, err := io.ReadFull(e, buf[:18]); err != nil || string(buf[:n]) != "request 1 answered" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	_, _ = service.Write([]byte("surplus"))
	eventually(t, "the surplus at the frontdoor", func() bool { return pending(s.conn) })
	_ = request("request 2")
	n, err := e.Read(buf)
	if n > 0 || !errors.Is(err, ErrUnsolicited) {
		t.Fatalf("visitor 2 read %q, %v", buf[:n], err)
	}
	if o := ended(t, e); o.Reusable || !errors.Is(o.Err, ErrUnsolicited) {
		t.Fatalf("%+v", o)
	}
}
