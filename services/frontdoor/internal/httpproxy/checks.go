package httpproxy

import (
	"net/http"
	"strings"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/hostname"
)

// refusal is a request that is answered here, with a status of its own.
type refusal struct {
	err    *errs.Error
	status int
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

var errBadRequest = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request cannot be forwarded")

func refuse(status int, message string) error {
	return &refusal{errBadRequest.WithMessage("%s", message), status}
}

// check refuses what could mean one thing here and another behind us, and
// returns the canonical name that the request is for. net/http has parsed the
// request and it is written anew: two lengths that differ, or an encoding that
// is not just "chunked", have not come this far.
func (h *Handler) check(r *http.Request) (string, error) {
	switch r.Method {
	case http.MethodConnect, http.MethodTrace:
		return "", refuse(http.StatusMethodNotAllowed, "the method "+r.Method+" is not served here")
	}
	if !isToken(r.Method) || strings.ContainsFunc(r.RequestURI, endsWord) || strings.ContainsFunc(r.Host, beyondASCII) {
		return "", refuse(http.StatusBadRequest, "the method, path or host is not one that HTTP/1.1 could carry")
	}
	if r.URL.IsAbs() || r.URL.Host != "" {
		return "", refuse(http.StatusBadRequest, "the request line names a server; this is not a forward proxy")
	}
	if r.RequestURI == "" || r.RequestURI[0] != '/' && r.RequestURI != "*" {
		return "", refuse(http.StatusBadRequest, "the request line does not name a path")
	}
	host, err := hostname.FromHostHeader(r.Host)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "the Host header does not name a host")
	}
	if r.TLS != nil && !h.sameCertificate(r.TLS.ServerName, host) {
		return "", refuse(http.StatusMisdirectedRequest, "this connection was made for another host; connect anew")
	}
	return host, nil
}

// HTTP/2 visitors say method, path and host in fields of their own, where a space
// does no harm. In the request line it would end the word.

func isToken(s string) bool { return s != "" && !strings.ContainsFunc(s, notToken) }

func notToken(r rune) bool {
	return endsWord(r) || beyondASCII(r) || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
}

func endsWord(r rune) bool { return r <= ' ' || r == 0x7f }

func beyondASCII(r rune) bool { return r > 0x7e }

// sameCertificate holds if a connection made for one name may carry requests for
// another: browsers do that where the certificate is good for both.
func (h *Handler) sameCertificate(sni, host string) bool {
	if name, err := hostname.Normalize(sni); err == nil && name == host {
		return true
	}
	return h.deps.Covers != nil && h.deps.Covers(sni, host)
}

// ambiguous holds for requests behind which the connection is closed. With a
// chunked body there may have been a Content-Length, which net/http drops, and
// HTTP/1.0 knows no chunks: a proxy in front of us may have seen the end of the
// body elsewhere, and what it sends next must not be read as a request.
func ambiguous(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0)
}
