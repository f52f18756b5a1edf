package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialback/dialback/test/e2e/harness"
)

// misbehave answers requests as the path asks, each reply with the request's
// own mark, and bytes that nobody asked for with the mark "STRAY".
func misbehave(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		mark := r.Header.Get("X-Mark")
		reply := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Mark: %s\r\n\r\n%s", len(mark), mark, mark)
		stray := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Mark: STRAY\r\n\r\nSTRAY"
		switch r.URL.Path {
		case "/good":
			fmt.Fprint(c, reply)
		case "/echo":
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Mark: %s\r\n\r\n%s", len(body), mark, body)
		case "/surplus": // more bytes than Content-Length says
			fmt.Fprint(c, reply+"STRAYSTRAY")
		case "/twice": // one request, two replies, in one packet
			fmt.Fprint(c, reply+stray)
		case "/short": // less than Content-Length says
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Mark: %s\r\n\r\n%s", mark, mark)
			return
		case "/bothlengths":
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nX-Mark: %s\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", mark, len(mark), mark)
		case "/headbody": // a body behind the reply to HEAD
			fmt.Fprint(c, reply)
		}
	}
}

// visitor is one visitor's kind of request.
type visitor struct {
	name string
	// raw is what goes over the wire; REQUEST is a request to smuggle, LENGTH its
	// length in hexadecimal.
	raw string
	// aborts: the visitor leaves in the middle of what it sends.
	aborts bool
}

var visitors = []visitor{
	{name: "good", raw: "GET /good HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\n\r\n"},
	{name: "echo", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nContent-Length: 36\r\n\r\nMARKMARKMARK"},
	{name: "chunked", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nMARK\r\n0\r\n\r\n"},
	{name: "surplus", raw: "GET /surplus HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\n\r\n"},
	{name: "twice", raw: "GET /twice HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\n\r\n"},
	{name: "short", raw: "GET /short HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\n\r\n"},
	{name: "both lengths", raw: "GET /bothlengths HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\n\r\n"},
	{name: "HEAD", raw: "HEAD /headbody HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\n\r\n"},
	{name: "CL.TE", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nREQUEST"},
	{name: "TE.CL", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nLENGTH\r\nREQUEST\r\n0\r\n\r\n"},
	{name: "TE.TE", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nTransfer-Encoding: xchunked\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"},
	{name: "two lengths", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\n123456"},
	{name: "a surplus byte", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nContent-Length: 3\r\n\r\n123456"},
	{name: "an aborted body", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nContent-Length: 1000\r\n\r\nMARK", aborts: true},
	{name: "an aborted chunk", raw: "POST /echo HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nMARK", aborts: true},
	{name: "a bare LF", raw: "GET /good HTTP/1.1\nHost: HOST\nX-Mark: MARK\n\n"},
	{name: "a folded header", raw: "GET /good HTTP/1.1\r\nHost: HOST\r\nX-Mark: MARK\r\n folded\r\n\r\n"},
	{name: "two hosts", raw: "GET /good HTTP/1.1\r\nHost: HOST\r\nHost: other.localhost\r\nX-Mark: MARK\r\n\r\n"},
}

func (v visitor) bytes(host, mark string) string {
	smuggled := "GET /good HTTP/1.1\r\nHost: " + host + "\r\nX-Mark: SMUGGLED\r\n\r\n"
	return strings.NewReplacer("HOST", host, "MARK", mark, "REQUEST", smuggled, "LENGTH", fmt.Sprintf("%x", len(smuggled))).Replace(v.raw)
}

// Whatever visitors and services send, no byte of one visit is in another's
// answer. Every mark is unique; the service's connections are shared.
func TestVisitorsNeverMeet(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		s := publish(t, d, serveRaw(t, misbehave))
		var count atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 25 {
					for _, v := range visitors {
						mark := fmt.Sprintf("m%011d", count.Add(1))
						visit(t, s, v, mark)
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%d visits", count.Load())
	})
}

func visit(t *testing.T, s *site, v visitor, mark string) {
	c, err := net.Dial("tcp", s.HTTP)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(harness.Limit))
	if _, err := io.WriteString(c, v.bytes(s.host, mark)); err != nil {
		return // refused before the end of what it sent
	}
	if v.aborts {
		return
	}
	// Half-close is an abandoned visit in HTTP: the end of the answer must come
	// from the other side, asked for by a last request.
	_, _ = fmt.Fprintf(c, "GET /good HTTP/1.1\r\nHost: %s\r\nX-Mark: %s\r\nConnection: close\r\n\r\n", s.host, mark)
	answer, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the answer has no end:\n%s", v.name, answer)
	}
	rest := strings.ReplaceAll(string(answer), mark, "")
	for _, foreign := range []string{"STRAY", "X-Mark: m", "\r\n\r\nm0"} {
		if strings.Contains(rest, foreign) {
			t.Errorf("%s (%s): %q in the answer:\n%s", v.name, mark, foreign, answer)
		}
	}
	if n := strings.Count(string(answer), "SMUGGLED"); n > 1 {
		t.Errorf("%s: the smuggled request was answered apart:\n%s", v.name, answer)
	}
	if v.name == "good" && strings.Count(string(answer), "200 OK") != 2 {
		t.Errorf("good (%s):\n%s", mark, answer)
	}
}

// A service answers a request, and later sends another reply that nobody asked
// for, as servers do that give up on an idle connection. It has left the
// service before the next request comes, and must not become its answer.
func TestAReplyThatNobodyAskedFor(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		for name, stray := range map[string]string{
			"200":  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSTRAY",
			"408":  "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 5\r\n\r\nSTRAY",
			"junk": "STRAY",
		} {
			t.Run(name, func(t *testing.T) {
				var last atomic.Pointer[net.Conn] // the connection of the newest request
				s := publish(t, d, serveRaw(t, func(c net.Conn) {
					in := bufio.NewReader(c)
					for {
						if _, err := http.ReadRequest(in); err != nil {
							return
						}
						last.Store(&c)
						fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
					}
				}))
				for range 5 { // each costs a retry, and those of an endpoint are bounded
					if got := s.curl(t, s.http+"/"); got != "good" {
						t.Errorf("got %q", got)
					}
					fmt.Fprint(*last.Load(), stray)
				}
			})
		}
	})
}
