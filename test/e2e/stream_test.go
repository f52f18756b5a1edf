package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dialback/dialback/test/e2e/harness"
)

// serve starts a local service and returns its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// serveRaw starts a local service that speaks TCP, each connection in a
// goroutine of its own.
func serveRaw(t *testing.T, f func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit)
	t.Cleanup(cancel)
	return ctx
}

func TestWebSocketEcho(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		s := publish(t, d, serve(t, func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			for {
				kind, message, err := c.Read(r.Context())
				if err != nil {
					return
				}
				if err := c.Write(r.Context(), kind, append([]byte("echo "), message...)); err != nil {
					return
				}
			}
		}))
		ctx := within(t)
		c, _, err := websocket.Dial(ctx, "ws://"+s.HTTP, &websocket.DialOptions{Host: s.host})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		// Each message waits for the echo of the one before: nothing may be held back.
		for i := range 100 {
			message := fmt.Sprintf("message %d %s", i, strings.Repeat("x", i*100))
			if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
				t.Fatal(err)
			}
			_, got, err := c.Read(ctx)
			if err != nil || string(got) != "echo "+message {
				t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// The service sends an event only when the visitor has the one before: an event
// that waits for more bytes anywhere on the way stops the test.
func TestServerSentEventsArriveAsTheyAreSent(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		next := make(chan struct{})
		s := publish(t, d, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 5 {
				fmt.Fprintf(w, "data: %d %d\n\n", i, time.Now().UnixNano())
				_ = http.NewResponseController(w).Flush()
				select {
				case <-next:
				case <-r.Context().Done():
					return
				}
			}
		}))
		curl := harness.Start(t, nil, "curl", append(append([]string(nil), s.args...), "-sSN", "--http2", s.https+"/events")...)
		for i := range 5 {
			sent := curl.WaitLog(fmt.Sprintf(`data: %d (\d+)\n\n`, i))
			var at int64
			if _, err := fmt.Sscan(sent, &at); err != nil {
				t.Fatal(err)
			}
			t.Logf("event %d took %v", i, time.Since(time.Unix(0, at)))
			next <- struct{}{}
		}
		if code := curl.Wait(); code != 0 {
			t.Errorf("curl: exit %d", code)
		}
	})
}

func TestAnAbandonedVisitorIsSeenByTheService(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		began, gone := make(chan struct{}), make(chan struct{})
		s := publish(t, d, serve(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			began <- struct{}{}
			<-r.Context().Done()
			gone <- struct{}{}
		}))
		for name, w := range s.ways() {
			curl := harness.Start(t, nil, "curl", append(append([]string(nil), s.args...), "-sSN", w.version, w.base+"/long")...)
			ctx := within(t)
			wait(t, ctx, began, "the request does not arrive")
			killed := time.Now()
			curl.Kill()
			wait(t, ctx, gone, "the service does not see that the visitor has gone")
			t.Logf("%s: seen after %v", name, time.Since(killed))
		}
	})
}

func wait(t *testing.T, ctx context.Context, c <-chan struct{}, complaint string) { //nolint:revive // t first, as in every helper
	t.Helper()
	select {
	case <-c:
	case <-ctx.Done():
		t.Fatal(complaint)
	}
}

// The service answers 413 while the body still comes and reads no more of it.
func TestAnEarlyReplyArrivesWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		page := strings.Repeat("too large, really\n", 10_000)
		s := publish(t, d, serveRaw(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
			_ = c.(*net.TCPConn).CloseWrite()
			// As a careful server does: what still comes must not become a RST that
			// takes the reply away.
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.CopyN(io.Discard, c, 1<<20)
		}))
		file := harness.WriteFile(t, "upload", strings.Repeat("x", 64<<20))
		for name, w := range s.ways() {
			got := s.curl(t, w.version, "-H", "Expect:", "-w", "%{http_code}", "-T", file, w.base+"/upload")
			if got != page+"413" {
				t.Errorf("%s: %d bytes, end %q", name, len(got), got[max(0, len(got)-40):])
			}
		}
	})
}

// Body and reply run side by side: each part of the body is sent only when the
// echo of the one before has arrived.
func TestBodyAndReplyRunSideBySide(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		s := publish(t, d, serve(t, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			_ = control.EnableFullDuplex()
			_ = control.Flush()
			lines := bufio.NewScanner(r.Body)
			for lines.Scan() {
				fmt.Fprintf(w, "echo %s\n", lines.Text())
				_ = control.Flush()
			}
		}))
		body, send := io.Pipe()
		req, err := http.NewRequestWithContext(within(t), http.MethodPost, "http://"+s.HTTP+"/", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = s.host
		go func() { fmt.Fprintln(send, 0) }()
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		for i := range 20 {
			if !lines.Scan() || lines.Text() != fmt.Sprintf("echo %d", i) {
				t.Fatalf("line %d: %q, %v", i, lines.Text(), lines.Err())
			}
			fmt.Fprintln(send, i+1)
		}
		_ = send.Close()
		if !lines.Scan() || lines.Text() != "echo 20" || lines.Scan() {
			t.Errorf("the end: %q, %v", lines.Text(), lines.Err())
		}
	})
}
