package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// refusal is a request that is not handed to the handler.
type refusal struct {
	status int
	text   string // for the visitor, behind the status
}

func (r *refusal) Error() string { return r.text }

// readRequest reads a head. The body is nil if there is none.
func (c *conn) readRequest() (*http.Request, *body, error) {
	if c.afterPost {
		c.skipEmptyLines()
	}
	req, err := http.ReadRequest(c.in)
	if err != nil {
		return nil, nil, err
	}
	c.afterPost = req.Method == http.MethodPost
	c.src.unlimit()
	if err := judge(req); err != nil {
		return nil, nil, err
	}
	req.RemoteAddr, req.TLS = c.remote, c.tls
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil, nil
	}
	_ = c.raw.SetReadDeadline(time.Time{})
	b := &body{src: req.Body}
	b.left.Store(req.ContentLength)
	req.Body = b
	if req.Trailer == nil {
		req.Trailer = http.Header{} // the parser fills it, also when the request has been copied
	}
	return req, b, nil
}

// skipEmptyLines skips what old clients send behind a body (RFC 9112, 2.2).
func (c *conn) skipEmptyLines() {
	const most = 4
	head, _ := c.in.Peek(most) // who reads on gets the error
	n := 0
	for n < len(head) && (head[n] == '\r' || head[n] == '\n') {
		n++
	}
	_, _ = c.in.Discard(n) // they are buffered
}

// judge refuses what the parser lets pass and a server must not.
func judge(req *http.Request) error {
	if req.ProtoMajor != 1 {
		return &refusal{http.StatusHTTPVersionNotSupported, "unsupported protocol version"}
	}
	if req.ProtoMinor > 0 && req.Host == "" && req.Method != http.MethodConnect {
		return &refusal{http.StatusBadRequest, "missing required Host header"}
	}
	if !httpguts.ValidHostHeader(req.Host) {
		return &refusal{http.StatusBadRequest, "malformed Host header"}
	}
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return &refusal{http.StatusBadRequest, "invalid header name"}
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return &refusal{http.StatusBadRequest, "invalid header value"}
			}
		}
	}
	if expect := req.Header["Expect"]; len(expect) > 0 && !expectsContinue(req) && strings.Join(expect, "") != "" {
		return &refusal{http.StatusExpectationFailed, "unknown expectation"}
	}
	return nil
}

func expectsContinue(req *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(req.Header["Expect"], "100-continue")
}

// refuse answers what was no request, where somebody may read it.
func (c *conn) refuse(err error) {
	c.src.quiet()
	var network net.Error
	var op *net.OpError
	var refused *refusal
	status, text := http.StatusBadRequest, ""
	switch {
	case c.src.limited && c.src.left <= 0:
		status = http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(err, io.EOF), errors.As(err, &network) && network.Timeout(), errors.As(err, &op), errors.Is(err, context.Canceled):
		return // nobody is there
	case errors.As(err, &refused):
		status, text = refused.status, ": "+refused.text
	case strings.Contains(err.Error(), "transfer encoding"): // net/http's error for it has no name
		status = http.StatusNotImplemented
	}
	line := fmt.Sprintf("%d %s%s", status, http.StatusText(status), text)
	const fields = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
	_ = c.raw.SetWriteDeadline(deadline(c.server.cfg.HeaderTimeout))
	if _, err := io.WriteString(c.raw, "HTTP/1.1 "+line+fields+line); err == nil {
		c.linger()
	}
}
