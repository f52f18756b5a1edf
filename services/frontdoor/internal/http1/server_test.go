package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestAVisitorWhoLeavesEndsHisRequest(t *testing.T) {
	t.Parallel()
	arrived, ended := make(chan struct{}), make(chan struct{})
	_, address := serve(t, testConfig, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
	} {
		v := visit(t, address)
		v.say("%s", request)
		<-arrived
		_ = v.Close()
		<-ended
	}
}

// A request that comes behind one that takes long, during it or later, is not taken
// for a visitor's leaving, and not lost.
func TestTheNextRequestIsNotLost(t *testing.T) {
	t.Parallel()
	arrived, goOn := make(chan struct{}), make(chan struct{})
	s, address := serve(t, testConfig, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1" {
			arrived <- struct{}{}
			<-goOn
		}
		_, _ = io.WriteString(w, r.Method+r.URL.Path)
	})
	v := visit(t, address)
	second := func() { v.say("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n") }
	for _, early := range []bool{true, false} {
		v.say("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
		<-arrived
		listened(s)
		if early {
			second()
		}
		goOn <- struct{}{}
		if _, got := v.hear(http.MethodGet); got != "GET/1" {
			t.Errorf("%q", got)
		}
		if !early {
			second()
		}
		if _, got := v.hear(http.MethodGet); got != "GET/2" {
			t.Errorf("%q", got)
		}
	}
}

// listened returns when somebody listens for the leaving of all visitors whose
// requests have arrived.
func listened(s *Server) {
	for {
		s.watch.mu.Lock()
		none := s.watch.first == nil
		s.watch.mu.Unlock()
		if none {
			return
		}
		runtime.Gosched()
	}
}

// What comes behind a request that is listened behind belongs to who takes the
// connection over.
func TestWhoTakesAConnectionOverGetsAllThatCame(t *testing.T) {
	t.Parallel()
	arrived, come, got := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	s, address := serve(t, testConfig, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-come
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		buffered, _ := rw.Peek(rw.Reader.Buffered())
		rest, _ := io.ReadAll(conn)
		got <- string(buffered) + string(rest)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	v := visit(t, address)
	v.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	listened(s)
	v.say("abcdef")
	for c := range s.conns { // there is one
		<-c.src.stopped // by the first byte
	}
	_ = v.Conn.(*net.TCPConn).CloseWrite()
	close(come)
	if all := <-got; all != "abcdef" {
		t.Errorf("%q", all)
	}
	v.hear(http.MethodGet)
	v.ended()
}

func TestABodyIsAskedForWhenItIsWanted(t *testing.T) {
	t.Parallel()
	_, address := serve(t, testConfig, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	const head = "POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	v := visit(t, address)
	v.say(head, "/")
	if res, _ := v.hear(http.MethodPost); res.StatusCode != http.StatusContinue {
		t.Fatal(res.Status)
	}
	v.say("abc")
	if _, body := v.hear(http.MethodPost); body != "abc" {
		t.Error(body)
	}
	v.say(head, "/no")
	// Whether the body comes is open: what follows could be it, or a request.
	if res, _ := v.hear(http.MethodPost); res.StatusCode != http.StatusForbidden || !res.Close {
		t.Error(res.Status, res.Close)
	}
	v.ended()
}

func TestAVisitorOfAnOldVersionGetsNoHints(t *testing.T) {
	t.Parallel()
	_, address := serve(t, testConfig, tell)
	v := visit(t, address)
	v.say("GET /hints HTTP/1.0\r\n\r\n")
	if res, _ := v.hear(http.MethodGet); res.StatusCode != http.StatusOK {
		t.Error(res.Status)
	}
	v.ended()
	v = visit(t, address)
	v.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if res, _ := v.hear(http.MethodGet); res.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Error(res.Status)
	}
}

func TestSlowHeadsAndIdleVisitorsAreClosed(t *testing.T) {
	t.Parallel()
	const soon = 50 * time.Millisecond
	ok := func(http.ResponseWriter, *http.Request) {}
	_, slow := serve(t, Config{HeaderTimeout: soon, IdleTimeout: limit, MaxHeaderBytes: 1 << 10}, ok)
	for _, begun := range []string{"", "GET / HTTP/1.1\r\nHost: a\r\n"} {
		v := visit(t, slow)
		_, _ = io.WriteString(v, begun) // it may be closed by now
		if rest, err := io.ReadAll(v.in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q, %v in place of the end", rest, err)
		}
	}
	_, idle := serve(t, Config{HeaderTimeout: limit, IdleTimeout: soon, MaxHeaderBytes: 1 << 10}, ok)
	v := visit(t, idle)
	v.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	v.hear(http.MethodGet)
	v.ended()
}

func TestAnAnswerArrivesThoughTheBodyStillComes(t *testing.T) {
	t.Parallel()
	come, answered := make(chan struct{}), make(chan struct{})
	_, address := serve(t, testConfig, func(w http.ResponseWriter, _ *http.Request) {
		<-come
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
		close(answered)
	})
	v := visit(t, address)
	if err := v.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { // most of the answer waits at the server
		t.Fatal(err)
	}
	v.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n%s", strings.Repeat("y", 64<<10))
	close(come)
	<-answered
	if res, body := v.hear(http.MethodPost); len(body) != 100_000 || !res.Close {
		t.Errorf("%d bytes, close: %v", len(body), res.Close)
	}
}

// Whoever listens for a visitor's leaving must not hear his request.
func TestASlowBodyIsTheHandlers(t *testing.T) {
	t.Parallel()
	s, address := serve(t, testConfig, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	v := visit(t, address)
	v.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
	for range 2 {
		s.watch.mu.Lock()
		round := s.watch.round
		s.watch.mu.Unlock()
		for since := uint64(0); since < 3; runtime.Gosched() {
			s.watch.mu.Lock()
			since = s.watch.round - round
			s.watch.mu.Unlock()
		}
		v.say("abc")
	}
	if _, body := v.hear(http.MethodPost); body != "abcabc" {
		t.Errorf("%q", body)
	}
}

func TestAStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	arrived, goOn := make(chan struct{}), make(chan struct{})
	s, address := serve(t, testConfig, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-goOn
		}
		_, _ = io.WriteString(w, "done")
	})
	idle, busy := visit(t, address), visit(t, address)
	idle.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.hear(http.MethodGet)
	busy.say("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	idle.ended()
	close(goOn)
	if res, body := busy.hear(http.MethodGet); body != "done" || !res.Close {
		t.Errorf("%q, close: %v", body, res.Close)
	}
	busy.ended()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAStopHasAnEnd(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	s, address := serve(t, testConfig, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	v := visit(t, address)
	v.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.Close()
	v.ended()
}

func TestNobodyWaitsForVisitorsForLong(t *testing.T) {
	t.Parallel()
	s, address := serve(t, testConfig, func(http.ResponseWriter, *http.Request) {})
	for range 10 {
		v := visit(t, address)
		v.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		v.hear(http.MethodGet)
		v.ended()
	}
	// The last one is about to wait, or has waited where the machine is very busy.
	for soon := time.Now().Add(2 * spareFor); s.spare.Load() == 0 && time.Now().Before(soon); {
		runtime.Gosched()
	}
	for s.spare.Load() > 0 {
		runtime.Gosched()
	}
}
