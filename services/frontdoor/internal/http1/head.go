package http1

import (
	"bufio"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// judgeHeader decides on what the handler has said about body and connection.
func (w *response) judgeHeader() {
	if values := w.header["Content-Length"]; len(values) > 0 && hasBody(w.status) {
		if n, err := strconv.ParseInt(strings.TrimSpace(values[0]), 10, 63); err == nil && n >= 0 {
			w.length = n
		}
	}
	if w.req.ProtoMinor == 0 || httpguts.HeaderValuesContainsToken(w.header["Connection"], "close") ||
		w.body != nil && w.body.hopeless() || w.c.server.closing() {
		w.close = true
	}
}

// writeHead writes all of the head that does not depend on the body's length.
func (w *response) writeHead() {
	out := w.c.out
	writeStatus(out, w.status)
	writeFields(out, w.header, w.ours)
	if len(w.header["Date"]) == 0 {
		var b [len(http.TimeFormat)]byte
		writeAll(out, "Date: ")
		_, _ = out.Write(time.Now().UTC().AppendFormat(b[:0], http.TimeFormat)) // the writer keeps an error
		writeAll(out, "\r\n")
	}
	if w.close {
		writeAll(out, "Connection: close\r\n")
	}
	if w.length != unknown || !hasBody(w.status) {
		w.frame()
	}
}

// ours holds for fields that are written by what is known here.
func (w *response) ours(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Transfer-Encoding":
		return true
	case "Content-Type":
		return w.status == http.StatusNotModified
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

// frame ends the head by how the body's end is told: its length, chunks, or the
// connection's end.
func (w *response) frame() {
	out := w.c.out
	w.framed = true
	switch {
	case w.length != unknown:
		var digits [20]byte
		writeAll(out, "Content-Length: ")
		_, _ = out.Write(strconv.AppendInt(digits[:0], w.length, 10)) // the writer keeps an error
		writeAll(out, "\r\n")
	case w.empty:
	case w.req.ProtoMinor > 0:
		w.chunked = true
		writeAll(out, "Transfer-Encoding: chunked\r\n")
	}
	writeAll(out, "\r\n")
}

func writeStatus(w *bufio.Writer, status int) {
	var digits [4]byte
	writeAll(w, "HTTP/1.1 ")
	_, _ = w.Write(strconv.AppendInt(digits[:0], int64(status), 10)) // the writer keeps an error
	writeAll(w, " ", http.StatusText(status), "\r\n")
}

// writeFields writes them in the order of their names.
func writeFields(w *bufio.Writer, h http.Header, skip func(name string) bool) {
	var room [32]string
	names := room[:0]
	for name := range h {
		if !skip(name) && httpguts.ValidHeaderFieldName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range h[name] {
			writeAll(w, name, ": ", oneLine.Replace(value), "\r\n")
		}
	}
}

// oneLine keeps a value from becoming two fields.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

func writeAll(w *bufio.Writer, parts ...string) {
	for _, s := range parts {
		_, _ = w.WriteString(s) // the writer keeps an error for Flush
	}
}
