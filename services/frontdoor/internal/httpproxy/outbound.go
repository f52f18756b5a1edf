package httpproxy

import (
	"bufio"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
)

// outbound is a request as its service gets it: the same line and Host, byte for
// byte, with headers of its own.
type outbound struct {
	in      *http.Request
	header  http.Header
	upgrade string        // the protocol that the visitor asks to switch to; empty: none
	length  int64         // of the body in bytes; negative: it is chunked
	body    io.ReadCloser // nil: there is none
	trailer http.Header   // filled when the body has ended
}

// newOutbound takes off what is for one hop. Values are shared with the visitor's
// headers, so they are replaced and never written to.
func newOutbound(in *http.Request) (*outbound, error) {
	o := &outbound{in: in, header: forwardable(in.Header, 8), length: in.ContentLength}
	if in.ContentLength != 0 && in.Body != nil && in.Body != http.NoBody {
		o.body, o.trailer = in.Body, announced(in.Trailer)
	}
	delete(o.header, "Host")
	delete(o.header, "Content-Length") // written by what the server made of it
	if hasToken(in.Header["Te"], "trailers") {
		o.header["Te"] = []string{"trailers"}
	}
	if o.upgrade = upgradeOf(in.Header); o.upgrade != "" {
		if !printable(o.upgrade) {
			return nil, refuse(http.StatusBadRequest, "the Upgrade header does not name a protocol")
		}
		o.header["Connection"], o.header["Upgrade"] = []string{"Upgrade"}, []string{o.upgrade}
	}
	return o, nil
}

// announced are the trailers that may follow the body. One that is read as a
// header by a careless service must not say where a request belongs or comes from.
func announced(trailer http.Header) http.Header {
	out := forwardable(trailer, 0)
	delete(out, "Host")
	delete(out, "Content-Length")
	removeOwn(out)
	removeForwarded(out)
	for name := range out {
		out[name] = nil // they are not there yet
	}
	return out
}

// attempt is a copy that can be written while another one of the same request
// still is. body may be nil.
func (o *outbound) attempt(body *replayBody) (*outbound, bool) {
	a := *o
	if body == nil {
		return &a, true
	}
	a.header, a.trailer = maps.Clone(o.header), maps.Clone(o.trailer)
	reader := body.from(a.trailer)
	if reader == nil {
		return nil, false
	}
	a.body = reader
	return &a, true
}

// write sends the request. Names and values have passed the server's parser, so
// no line of it can become two.
func (o *outbound) write(w *bufio.Writer) error {
	o.writeHead(w)
	// With a body to come the head goes first: the service may judge by it, and the
	// visitor may take long.
	if err := w.Flush(); err != nil || o.body == nil {
		return err
	}
	if o.length >= 0 {
		return o.writeKnown(w)
	}
	return o.writeChunked(w)
}

// A bufio.Writer keeps its first error for Flush.
func (o *outbound) writeHead(w *bufio.Writer) {
	writeAll(w, o.in.Method, " ", o.in.RequestURI, " HTTP/1.1\r\nHost: ", o.in.Host, "\r\n")
	switch {
	case o.body != nil && o.length < 0:
		writeAll(w, "Transfer-Encoding: chunked\r\n")
		if len(o.trailer) > 0 {
			writeAll(w, "Trailer: ", strings.Join(slices.Sorted(maps.Keys(o.trailer)), ", "), "\r\n")
		}
	case o.body != nil, wantsLength(o.in.Method):
		var digits [20]byte
		writeAll(w, "Content-Length: ")
		_, _ = w.Write(strconv.AppendInt(digits[:0], o.length, 10))
		writeAll(w, "\r\n")
	}
	writeFields(w, o.header)
	writeAll(w, "\r\n")
}

// wantsLength holds for methods whose empty body many services want to see said.
func wantsLength(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// writeFields writes them in the order of their names.
func writeFields(w *bufio.Writer, h http.Header) {
	var room [32]string
	names := room[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range h[name] {
			writeAll(w, name, ": ", value, "\r\n")
		}
	}
}

func writeAll(w *bufio.Writer, parts ...string) {
	for _, s := range parts {
		_, _ = w.WriteString(s)
	}
}

func (o *outbound) writeKnown(w *bufio.Writer) error {
	n, err := pour(w, w.Flush, io.LimitReader(o.body, o.length))
	if err == nil && n < o.length {
		err = &bodyError{io.ErrUnexpectedEOF}
	}
	return err
}

func (o *outbound) writeChunked(w *bufio.Writer) error {
	chunks := httputil.NewChunkedWriter(w)
	if _, err := pour(chunks, w.Flush, o.body); err != nil {
		return err
	}
	_ = chunks.Close() // w keeps an error
	writeFields(w, o.trailer)
	writeAll(w, "\r\n")
	return w.Flush()
}
