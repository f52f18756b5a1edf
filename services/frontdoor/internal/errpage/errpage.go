// Package errpage tells visitors what went wrong when Dialback itself answers:
// which leg failed, what they can do and what the endpoint's owner can do, with
// the code and trace id that lead to the log line. It never shows a private
// address or an inner cause.
package errpage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	_ "embed"

	"github.com/dialback/dialback/internal/errs"
)

// Header names the code of every error that Dialback itself answers.
const Header = "Dialback-Error"

//go:embed page.html
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"sentence": sentence}).Parse(source))

// Problem is what went wrong.
type Problem struct {
	Err     *errs.Error
	TraceID string // empty: not traced
	Host    string // as the visitor wrote it
	// Status overrides the code's own; 0: it does not.
	Status int
}

// view is what the three forms of the page are made from.
type view struct {
	Status     int
	StatusText string
	Code       string
	Message    string
	TraceID    string
	Host       string
	advice
	Stops []stop
}

// stop is one station on a request's way, and whether it got past it.
type stop struct {
	Name   string
	State  string // "ok", "failed" or "unknown"
	Failed bool
}

// Write answers the request with the problem, in the form that it asks for.
func Write(w http.ResponseWriter, r *http.Request, p Problem) {
	v := newView(p)
	kind, body := v.render(r.Header.Get("Accept"))
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept")
	h.Set(Header, v.Code)
	if d := p.Err.RetryAfter(); d > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
	w.WriteHeader(v.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the visitor may have gone
	}
}

// Status is the HTTP status of a code.
func Status(reason errs.Reason) int {
	if a, known := advices[reason]; known {
		return a.status
	}
	return http.StatusInternalServerError
}

func newView(p Problem) view {
	reason := p.Err.Reason()
	a, known := advices[reason]
	if !known {
		a = advices[errs.ReasonInternal]
	}
	v := view{
		Status: a.status, Code: string(reason), Message: p.Err.Message(),
		TraceID: p.TraceID, Host: p.Host, advice: a, Stops: a.way(),
	}
	if p.Status != 0 {
		v.Status = p.Status
	}
	v.StatusText = http.StatusText(v.Status)
	return v
}

// render chooses a form: a page for browsers, JSON where it is named, text for
// whoever takes anything.
func (v view) render(accept string) (kind string, body []byte) {
	switch {
	case strings.Contains(accept, "text/html"), strings.Contains(accept, "application/xhtml+xml"):
		var b bytes.Buffer
		if err := page.Execute(&b, v); err == nil {
			return "text/html; charset=utf-8", b.Bytes()
		}
	case strings.Contains(accept, "json"):
		return "application/json", v.json()
	}
	return "text/plain; charset=utf-8", v.text()
}

func (v view) json() []byte {
	b, _ := json.Marshal(struct {
		Code    string `json:"code"`
		Status  int    `json:"status"`
		Message string `json:"message"`
		Leg     string `json:"leg,omitempty"`
		TraceID string `json:"trace_id,omitempty"`
	}{v.Code, v.Status, v.Message, v.Leg, v.TraceID}) // strings and a number: it never fails
	return append(b, '\n')
}

func (v view) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d %s: %s (%s)\n", v.Status, v.StatusText, v.Title, v.Code)
	fmt.Fprintf(&b, "%s\n", v.Message)
	if v.TraceID != "" {
		fmt.Fprintf(&b, "trace: %s\n", v.TraceID)
	}
	return b.Bytes()
}

// sentence makes an error's text, which begins small so that others can be put
// before it, one that stands alone.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:] + "."
}
