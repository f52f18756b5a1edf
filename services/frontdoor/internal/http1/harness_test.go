package http1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// limit is for what comes at once unless something is wrong.
const limit = 2 * time.Minute

var testConfig = Config{HeaderTimeout: limit, IdleTimeout: limit, MaxHeaderBytes: 8 << 10}

// serve serves a handler on a listener of its own and returns the server and its address.
func serve(t testing.TB, cfg Config, handler http.HandlerFunc) (*Server, string) {
	t.Helper()
	s := New(cfg, Deps{
		Handler: handler, Log: slog.New(slog.DiscardHandler),
		Arrived: func(ctx context.Context, _ net.Conn) (context.Context, func()) { return ctx, func() {} },
	})
	l := listen(t)
	t.Cleanup(s.Close)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.Start(c)
		}
	}()
	return s, l.Addr().String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// visitor is a connection of one who writes what he likes.
type visitor struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func visit(t testing.TB, address string) *visitor {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	return &visitor{t, c, bufio.NewReader(c)}
}

func (v *visitor) say(format string, args ...any) {
	v.t.Helper()
	if _, err := fmt.Fprintf(v, format, args...); err != nil {
		v.t.Fatal(err)
	}
}

// hear reads an answer to a request with a method.
func (v *visitor) hear(method string) (*http.Response, string) {
	v.t.Helper()
	res, err := http.ReadResponse(v.in, &http.Request{Method: method})
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res, string(body)
}

// ended waits for the connection's end.
func (v *visitor) ended() {
	v.t.Helper()
	if rest, err := io.ReadAll(v.in); err != nil || len(rest) > 0 {
		v.t.Fatalf("%q, %v in place of the end", rest, err)
	}
}
