// Package sample is the small local service of the demo: it shows a visitor the
// request as the service saw it.
package sample

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Parse(page))

// header is one line of the request.
type header struct{ Name, Value string }

// view is what the page shows.
type view struct {
	Method, URI, Proto, Host, RemoteAddr string
	Headers                              []header
	TraceID                              string
	Visitor                              string
	Now                                  string
}

// Handler serves the page: HTML to browsers, plain text to all others.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := newView(r)
		w.Header().Set("Cache-Control", "no-store")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_ = pageTemplate.Execute(w, v)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "%s %s %s\nHost: %s\n", v.Method, v.URI, v.Proto, v.Host)
		for _, h := range v.Headers {
			fmt.Fprintf(w, "%s: %s\n", h.Name, h.Value)
		}
		fmt.Fprintf(w, "\ntrace %s\n", v.TraceID)
	})
}

func newView(r *http.Request) view {
	v := view{
		Method: r.Method, URI: r.URL.RequestURI(), Proto: r.Proto, Host: r.Host, RemoteAddr: r.RemoteAddr,
		TraceID: traceID(r.Header.Get("Traceparent")),
		Visitor: r.Header.Get("X-Forwarded-For"),
		Now:     time.Now().Format("15:04:05"),
	}
	for name, values := range r.Header {
		v.Headers = append(v.Headers, header{name, strings.Join(values, ", ")})
	}
	slices.SortFunc(v.Headers, func(a, b header) int { return strings.Compare(a.Name, b.Name) })
	return v
}

// traceID returns the trace id of a W3C traceparent header.
func traceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) != 4 {
		return "none"
	}
	return parts[1]
}
