package http1

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// tell answers with what it understood, in the way that the path says.
func tell(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.URL.Path != "/early" {
		body, _ = io.ReadAll(r.Body)
	}
	text := fmt.Sprintf("%s %s %s %q %v %v", r.Method, r.RequestURI, r.Host, body, r.Header["A"], r.Trailer)
	header := w.Header()
	header["Content-Type"] = []string{"text/plain"}
	switch r.URL.Path {
	case "/length":
		header.Set("Content-Length", fmt.Sprint(len(text)))
	case "/flush":
		_ = http.NewResponseController(w).Flush()
	case "/long":
		text = strings.Repeat(text, 1000)
	case "/nothing":
		w.WriteHeader(http.StatusNoContent)
	case "/unchanged":
		header.Set("Content-Length", "100")
		w.WriteHeader(http.StatusNotModified)
	case "/short":
		header.Set("Content-Length", "1000")
	case "/trailer":
		header.Set("Trailer", "X-End")
		defer header.Set("X-End", "yes")
	case "/late":
		defer header.Set(http.TrailerPrefix+"X-End", "late")
		_ = http.NewResponseController(w).Flush()
	case "/close":
		header.Set("Connection", "close")
	case "/hints":
		header.Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		header.Del("Link")
	case "/crash":
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, text)
}

// What a visitor says, and net/http's server and this one must answer alike.
var sayings = []string{
	"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /length HTTP/1.1\r\nHost: a\r\n\r\nGET /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	"HEAD /length HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /flush HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /long HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET /flush HTTP/1.0\r\nHost: a\r\n\r\n",
	"GET /flush HTTP/1.1\r\nHost: a\r\n\r\nGET /long HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\nGET /unchanged HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /short HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /trailer HTTP/1.1\r\nHost: a\r\n\r\nGET /late HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /close HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /hints HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /crash HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc",
	"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\nabc\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 3\r\n\r\nabc",
	"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA : c\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA: c\x01d\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", "GET /\r\n\r\n", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n", "GET", "",
	"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", 20<<10) + "\r\n\r\n",
}

func TestVisitorsAreAnsweredAsByNetHTTP(t *testing.T) {
	t.Parallel()
	ours, theirs := bothServers(t)
	for _, saying := range sayings {
		got, want := answers(t, ours, saying), answers(t, theirs, saying)
		if !slices.EqualFunc(got, want, alike) {
			t.Errorf("%.100q\n is answered   %.300q\nand by net/http %.300q", saying, got, want)
		}
	}
}

// alike lets this server say that it closes where net/http's closes without a word.
func alike(got, want string) bool {
	return got == want || got == strings.Replace(want, "close=false", "close=true", 1)
}

func FuzzVisitorsAreAnsweredAsByNetHTTP(f *testing.F) {
	for _, saying := range sayings {
		f.Add(saying)
	}
	ours, theirs := bothServers(f)
	f.Fuzz(func(t *testing.T, saying string) {
		if len(saying) >= readBuffer {
			t.Skip("what is not read when a server closes may cost an answer")
		}
		if strings.Contains(saying, "hints") && strings.Contains(saying, "1.0") {
			t.Skip("old visitors get no hints here")
		}
		got, want := answers(t, ours, saying), answers(t, theirs, saying)
		if n := len(got) - 2; n >= 0 && n < len(want) && (strings.HasPrefix(got[n], "400") || strings.HasPrefix(got[n], "505")) {
			got, want = got[:n], want[:n] // it may refuse more
		}
		if !slices.EqualFunc(got, want, alike) {
			t.Errorf("%q\n is answered   %q\nand by net/http %q", saying, got, want)
		}
	})
}

func bothServers(t testing.TB) (ours, theirs string) {
	t.Helper()
	_, ours = serve(t, testConfig, tell)
	h := &http.Server{
		Handler: http.HandlerFunc(tell), MaxHeaderBytes: testConfig.MaxHeaderBytes, ReadHeaderTimeout: limit,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), DisableGeneralOptionsHandler: true,
	}
	l := listen(t)
	go func() { _ = h.Serve(l) }()
	t.Cleanup(func() { _ = h.Close() })
	return ours, l.Addr().String()
}

// answers says something, with the end behind it, and returns what comes back: what
// it means rather than how it is written.
func answers(t testing.TB, address, saying string) []string {
	t.Helper()
	v := visit(t, address)
	v.say("%s", saying)
	_ = v.Conn.(*net.TCPConn).CloseWrite()
	var list []string
	for {
		res, err := http.ReadResponse(v.in, nil)
		if err != nil {
			return append(list, "end")
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode >= 400 { // words of their own
			list = append(list, fmt.Sprintf("%d close=%v", res.StatusCode, res.Close))
			continue
		}
		list = append(list, fmt.Sprintf("%d close=%v %v %d %q %v %v", res.StatusCode, res.Close, res.Header["Link"], res.ContentLength, body, res.Trailer, err))
	}
}
