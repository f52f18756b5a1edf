package httpproxy

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// written is a visitor's request as its service gets it.
func written(t *testing.T, text string) string {
	t.Helper()
	in, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return writeOf(t, in)
}

func writeOf(t *testing.T, in *http.Request) string {
	t.Helper()
	out, err := newOutbound(in)
	if err != nil {
		return err.Error()
	}
	var body *replayBody
	if out.body != nil {
		body = newReplayBody(in, out.body)
	}
	attempt, _ := out.attempt(body)
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	if err := attempt.write(w); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestARequestIsWrittenAsItWasSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, out string }{
		"the path byte for byte": {
			"GET //a/../%7e;x?%zz&b#c HTTP/1.1\r\nHost: App.Example.com:80\r\nAccept: */*\r\n\r\n",
			"GET //a/../%7e;x?%zz&b#c HTTP/1.1\r\nHost: App.Example.com:80\r\nAccept: */*\r\n\r\n",
		},
		"what is for one hop": {
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: b\r\nTE: gzip\r\nX-Kept: 1\r\nX-Kept: 2\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nX-Kept: 2\r\n\r\n",
		},
		"trailers are welcome": {
			"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nTe: trailers\r\n\r\n",
		},
		"an upgrade": {
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		},
		"an upgrade that is not meant": {
			"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		},
		"no body": {
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		},
		"a body of known length": {
			"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nabc",
			"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nabc",
		},
		"chunks and trailers": {
			"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Forwarded-For, Dialback-A, Host\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nX-Forwarded-For: 1.2.3.4\r\nDialback-A: b\r\nHost: c\r\nX-Late: 1\r\n\r\n",
			"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
		},
	} {
		if got := written(t, c.in); got != c.out {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, c.out)
		}
	}
}

func TestABodyThatEndsEarlyIsNoBody(t *testing.T) {
	t.Parallel()
	in, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nshort")))
	if err != nil {
		t.Fatal(err)
	}
	in.Body = io.NopCloser(strings.NewReader("short")) // without net/http's own check
	out, err := newOutbound(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.write(bufio.NewWriter(io.Discard)); err == nil {
		t.Error("a body that is too short was written whole")
	}
}

// HTTP/2 has no request line that a space could break.
func TestWhatOnlyHTTP2CanSayIsRefused(t *testing.T) {
	t.Parallel()
	h := &Handler{}
	request := func(method, path, host string) *http.Request {
		return &http.Request{Method: method, RequestURI: path, Host: host, URL: &url.URL{Path: path}, ProtoMajor: 2}
	}
	if _, err := h.check(request("GET", "/a?b", "a.example.com")); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*http.Request{
		"a request line in the method": request("GET /x HTTP/1.1", "/", "a.example.com"),
		"an empty method":              request("", "/", "a.example.com"),
		"a colon in the method":        request("X-A:", "/", "a.example.com"),
		"a version in the path":        request("GET", "/ HTTP/1.1", "a.example.com"),
		"a tab in the path":            request("GET", "/\t", "a.example.com"),
		"a host in Unicode":            request("GET", "/", "bücher.example.com"),
	} {
		if _, err := h.check(r); err == nil {
			t.Errorf("%s was let through", name)
		}
	}
}

// Whatever a visitor says, the service reads one request, and the same one.
func FuzzOutbound(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: content-length\r\n\r\nabc",
		"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, host\r\nUpgrade: a b\r\n\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read := func(s string) (*http.Request, string, *bufio.Reader) {
			br := bufio.NewReader(strings.NewReader(s))
			r, err := http.ReadRequest(br)
			if err != nil || !fromServer(r) {
				return nil, "", nil
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, "", nil
			}
			return r, string(body), br
		}
		in, body, _ := read(text)
		if in == nil {
			return
		}
		again, _ := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		wire := writeOf(t, again)
		got, gotBody, rest := read(wire)
		if got == nil {
			t.Fatalf("%q is not a request", wire)
		}
		if got.Method != in.Method || got.RequestURI != in.RequestURI || got.Host != in.Host || gotBody != body {
			t.Errorf("%q came out as %q", text, wire)
		}
		if more, _ := io.ReadAll(rest); len(more) > 0 {
			t.Errorf("%q stands behind the request", more)
		}
	})
}

// fromServer holds for requests that net/http's server and check hand on.
func fromServer(r *http.Request) bool {
	if !isToken(r.Method) || r.RequestURI[0] != '/' || r.URL.Host != "" || strings.ContainsFunc(r.RequestURI, endsWord) ||
		r.Host == "" || strings.ContainsFunc(r.Host, endsWord) || strings.ContainsFunc(r.Host, beyondASCII) || r.ProtoMajor != 1 {
		return false
	}
	for name, values := range r.Header {
		if !isToken(name) || strings.ContainsFunc(strings.Join(values, ""), func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return false
		}
	}
	return upgradeOf(r.Header) == "" || printable(upgradeOf(r.Header))
}
