package frontdoor_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

const app = "app." + domain

func TestHeadersAtTheEdge(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{false, true} {
		t.Run(fmt.Sprintf("trusted=%v", trusted), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) {
				if trusted {
					c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			}})
			seen := make(chan *http.Request, 1)
			w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
				seen <- r
				rw.Header().Set("Dialback-Error", "FORGED")
				rw.Header().Set("X-Own", "1")
			}))
			q, _ := http.NewRequest(http.MethodGet, "https://"+app+":443/a%7Cb/%2e%2e/c?x=a;b&y=%zz", nil)
			q.Host = app + ":443"
			for name, value := range map[string]string{
				"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher", "X_Forwarded_Host": "evil",
				"Forwarded": "for=6.6.6.6", "X-Real-Ip": "6.6.6.6", "Baggage": "a=b", "Dialback-Agent": "x",
				"Proxy-Authorization": "x", "X-Hop": "h", "Connection": "X-Hop", "Traceparent": "garbage",
			} {
				q.Header[name] = []string{value}
			}
			res, err := w.client().Do(q)
			fatal(t, err)
			_ = res.Body.Close()
			if res.Header.Get("Dialback-Error") != "" || res.Header.Get("X-Own") != "1" {
				t.Errorf("answer's headers: %v", res.Header)
			}
			r := <-seen
			if r.RequestURI != "/a%7Cb/%2e%2e/c?x=a;b&y=%zz" {
				t.Errorf("the request line has changed: %s", r.RequestURI)
			}
			want := map[string]string{
				"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": app + ":443",
				"X-Forwarded-Port": "443", "Forwarded": `for=127.0.0.1;host="` + app + `:443";proto=https`,
				"Baggage": "", "Dialback-Agent": "", "X-Hop": "", "Proxy-Authorization": "", "X_forwarded_host": "",
				"X-Real-Ip": "", "Accept-Encoding": "", "User-Agent": "Go-http-client/1.1",
			}
			if trusted {
				want["X-Forwarded-For"], want["X-Forwarded-Proto"] = "6.6.6.6, 127.0.0.1", "gopher"
				want["Forwarded"] = "for=6.6.6.6, " + want["Forwarded"]
			}
			for name, value := range want {
				if got := strings.Join(r.Header[name], "|"); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			if r.Host != app+":443" {
				t.Errorf("Host: %q", r.Host)
			}
			if tp := r.Header.Get("Traceparent"); len(tp) != 55 {
				t.Errorf("traceparent: %q", tp)
			}
		})
	}
}

func TestBodiesBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "X-Sum")
		rw.Header().Set("Content-Encoding", "gzip") // a lie: nobody on the way may care
		hash := sha256.New()
		_ = http.NewResponseController(rw).EnableFullDuplex()
		_, _ = io.Copy(io.MultiWriter(rw, hash), r.Body)
		rw.Header().Set("X-Sum", hex.EncodeToString(hash.Sum(nil))+r.Trailer.Get("X-In"))
	}))
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	sum := sha256.Sum256(payload)
	for _, proto := range []string{"http/1.1", "h2"} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s chunked=%v", proto, chunked), func(t *testing.T) {
				var body io.Reader = bytes.NewReader(payload)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				q, _ := http.NewRequest(http.MethodPost, "https://"+app+"/", body)
				q.Header.Set("Accept-Encoding", "identity")
				want := hex.EncodeToString(sum[:])
				if chunked {
					q.Trailer = http.Header{"X-In": {"+in"}}
					want += "+in"
				}
				res, err := w.client(proto).Do(q)
				fatal(t, err)
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				fatal(t, err)
				if !bytes.Equal(got, payload) || res.Trailer.Get("X-Sum") != want {
					t.Errorf("%d bytes, trailer %v, want %s", len(got), res.Trailer, want)
				}
			})
		}
	}
}

func TestStatusesAndMethodsPassUntouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/304":
			rw.Header().Set("Etag", `"x"`)
			rw.WriteHeader(http.StatusNotModified)
		case "/204":
			rw.WriteHeader(http.StatusNoContent)
		case "/range":
			http.ServeContent(rw, r, "x.txt", time.Time{}, strings.NewReader("0123456789"))
		case "/early":
			rw.Header().Set("Link", "</a.css>")
			rw.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(rw, "done")
		case "/empty":
		}
	}))
	c := w.client()
	do := func(method, path string, header ...string) *http.Response {
		q, _ := http.NewRequest(method, "http://"+app+path, nil)
		for i := 0; i+1 < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		res, err := c.Do(q)
		fatal(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res
	}
	if res := do("GET", "/304"); res.StatusCode != http.StatusNotModified || res.Header.Get("Etag") != `"x"` {
		t.Errorf("304: %v", res)
	}
	if res := do("HEAD", "/range"); res.StatusCode != http.StatusOK || res.ContentLength != 10 {
		t.Errorf("HEAD: %v", res)
	}
	if res := do("GET", "/range", "Range", "bytes=2-4"); res.StatusCode != http.StatusPartialContent || res.ContentLength != 3 {
		t.Errorf("range: %v", res)
	}
	if res := do("GET", "/204"); res.StatusCode != http.StatusNoContent {
		t.Errorf("204: %v", res)
	}
	if res := do("GET", "/empty"); res.StatusCode != http.StatusOK || res.ContentLength != 0 {
		t.Errorf("empty: %v", res)
	}
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h.Get("Link")))
			return nil
		},
	})
	q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+app+"/early", nil)
	res, err := c.Do(q)
	fatal(t, err)
	_ = res.Body.Close()
	if len(hints) != 1 || hints[0] != "103</a.css>" {
		t.Errorf("hints: %v", hints)
	}
}

// An answer that comes while the body still does arrives whole, and no deadlock
// comes of a service that answers before it reads.
func TestEarlyAnswersArriveWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	t.Cleanup(func() { _ = l.Close() })
	const size = 300_000
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // answers when it has the head alone
				_, _ = http.ReadRequest(bufio.NewReaderSize(c, 16))
				_, _ = fmt.Fprintf(c, "HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", size)
				_, _ = c.Write(bytes.Repeat([]byte("x"), size))
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c) // lingers, as a careful server does
				_ = c.Close()
			}()
		}
	}()
	w.tunnel(app, l.Addr().String())
	for range 5 {
		conn, err := net.Dial("tcp", w.front.HTTPAddr().String())
		fatal(t, err)
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000000\r\n\r\n", app)
		fatal(t, err)
		go func() { _, _ = io.Copy(conn, endless{}) }() // never ends: the answer must not wait for it
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		fatal(t, err)
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusRequestEntityTooLarge || len(body) != size || err != nil {
			t.Errorf("%d with %d bytes, %v", res.StatusCode, len(body), err)
		}
		_ = conn.Close()
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestContinueComesFromTheService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			rw.WriteHeader(http.StatusExpectationFailed)
			return
		}
		_, _ = io.Copy(rw, r.Body)
	}))
	for path, want := range map[string]string{"/yes": "100", "/no": "417"} {
		conn, err := net.Dial("tcp", w.front.HTTPAddr().String())
		fatal(t, err)
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", path, app)
		fatal(t, err)
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, nil)
		fatal(t, err)
		if strconv.Itoa(res.StatusCode) != want {
			t.Errorf("%s: %s, want %s", path, res.Status, want)
		}
		if path == "/yes" {
			_, _ = io.WriteString(conn, "hello")
			res, err = http.ReadResponse(br, nil)
			fatal(t, err)
			if body, _ := io.ReadAll(res.Body); string(body) != "hello" {
				t.Errorf("body %q", body)
			}
		}
		_ = conn.Close()
	}
}

func TestEventsArriveAsTheyAreSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	next := make(chan string)
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for event := range next {
			_, _ = io.WriteString(rw, event)
			_ = http.NewResponseController(rw).Flush()
		}
	}))
	res, err := func() (*http.Response, error) {
		go func() { next <- "data: 0\n\n" }()
		return w.client().Get("https://" + app + "/")
	}()
	fatal(t, err)
	defer res.Body.Close()
	buf := make([]byte, 64)
	for i := range 5 {
		if i > 0 {
			next <- fmt.Sprintf("data: %d\n\n", i)
		}
		n, err := io.ReadAtLeast(res.Body, buf[:9], 9)
		if err != nil || string(buf[:n]) != fmt.Sprintf("data: %d\n\n", i) {
			t.Fatalf("event %d: %q, %v", i, buf[:n], err)
		}
	}
	close(next)
}

func TestAnUpgradeIsAPairOfHalves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi ")
		all, _ := io.ReadAll(buf) // until the visitor's half ends
		_, _ = conn.Write(append(all, " bye"...))
	}))
	conn, err := net.Dial("tcp", w.front.HTTPAddr().String())
	fatal(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\npay", app)
	fatal(t, err)
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	fatal(t, err)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res.Status)
	}
	_, _ = io.WriteString(conn, "load")
	_ = conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(br)
	if err != nil || string(got) != "hi payload bye" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAnAbandonedVisitorIsSeenByTheService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	arrived, gone := make(chan struct{}), make(chan time.Time, 1)
	w.tunnel(app, upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		gone <- time.Now()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+app+"/", nil)
	go func() {
		<-arrived
		cancel()
	}()
	_, err := w.client().Do(q)
	left := time.Now()
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	select {
	case at := <-gone:
		t.Logf("the service saw it after %v", at.Sub(left))
	case <-time.After(limit):
		t.Fatal("the service was not told")
	}
}

func TestAPrivateConnectionIsKeptAndShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	var mu sync.Mutex
	from := map[string]bool{}
	a := w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from[r.RemoteAddr] = true
	}))
	for range 10 {
		res, _ := get(t, w.client(), "http://"+app+"/") // another visitor each
		if res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
	}
	if len(from) != 1 || a.dialled() != 1 {
		t.Errorf("%d private connections, %d dial-backs", len(from), a.dialled())
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.IdleTimeout = 100 * time.Millisecond }})
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	get(t, w.client(), "http://"+app+"/")
	testkit.Eventually(t, limit, func() bool { return a.conns() == 0 }, "the proxy connection ends")
}
