package harness

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/testkit"
)

// Collector is an OTLP receiver that keeps what it gets.
type Collector struct{ *testkit.SpanSink }

// Span is a span as a test looks at it: ids are hexadecimal.
type Span struct {
	Service, Name, Kind   string
	TraceID, ID, ParentID string
	Links                 []string // trace ids
	// Attribute is the value of an attribute as text, "" where there is none.
	Attribute func(key string) string
}

// StartCollector starts a receiver on loopback.
func StartCollector(t testing.TB) *Collector {
	t.Helper()
	return &Collector{testkit.Spans(t)}
}

func newSpan(s testkit.Span) *Span {
	span := &Span{
		Service: s.Service(), Name: s.GetName(),
		Kind:    strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		TraceID: s.TraceID(), ID: s.SpanID(), ParentID: s.ParentID(), Attribute: s.Attribute,
	}
	for _, l := range s.GetLinks() {
		span.Links = append(span.Links, hex.EncodeToString(l.GetTraceId()))
	}
	return span
}

// LinksTo reports whether the span has a link to a trace.
func (s *Span) LinksTo(trace string) bool { return slices.Contains(s.Links, trace) }

// Trace is the spans of one trace.
type Trace struct {
	ID    string
	Spans []*Span
}

// Trace waits until the named spans of a trace have arrived.
func (c *Collector) Trace(t testing.TB, id string, names ...string) *Trace {
	t.Helper()
	trace := &Trace{ID: id}
	for range Attempts(t, func() string { return fmt.Sprintf("want the spans %v of\n%s", names, trace) }) {
		trace.Spans = nil
		for _, s := range c.All() {
			if s.TraceID() == id {
				trace.Spans = append(trace.Spans, newSpan(s))
			}
		}
		if !slices.ContainsFunc(names, func(name string) bool { return trace.find(name, "", "") == nil }) {
			return trace
		}
	}
	return nil
}

func (tr *Trace) find(name, service, kind string) *Span {
	for _, s := range tr.Spans {
		if strings.HasSuffix(s.Name, name) && (service == "" || s.Service == service) && (kind == "" || s.Kind == kind) {
			return s
		}
	}
	return nil
}

// Has reports whether the trace has a span of this name.
func (tr *Trace) Has(name string) bool { return tr.find(name, "", "") != nil }

// Find returns the span whose name ends with name; service and kind may be
// empty. It fails the test if there is none.
func (tr *Trace) Find(t testing.TB, name, service, kind string) *Span {
	t.Helper()
	s := tr.find(name, service, kind)
	if s == nil {
		t.Fatalf("no span %s %s %s in\n%s", name, service, kind, tr)
	}
	return s
}

// Below reports whether parent is among the child's ancestors.
func (tr *Trace) Below(child, parent *Span) bool {
	for id := child.ParentID; id != ""; {
		if id == parent.ID {
			return true
		}
		i := slices.IndexFunc(tr.Spans, func(s *Span) bool { return s.ID == id })
		if i < 0 {
			return false
		}
		id = tr.Spans[i].ParentID
	}
	return false
}

// String lists the spans.
func (tr *Trace) String() string {
	var b strings.Builder
	for _, s := range tr.Spans {
		fmt.Fprintf(&b, "%s %-10s %-20s %-45s parent %-16s links %v\n", s.ID, s.Kind, s.Service, s.Name, s.ParentID, s.Links)
	}
	return b.String()
}
