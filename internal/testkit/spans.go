package testkit

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// spansWithin is how long Wait waits: several times the 5 s after which an SDK
// exports by itself.
const spansWithin = 30 * time.Second

// Span is one span as a collector gets it.
type Span struct {
	*tracev1.Span
	Resource []*commonv1.KeyValue
}

// Service is the name of the part that emitted the span.
func (s Span) Service() string { return text(s.Resource, "service.name") }

// Attribute is the value of an attribute as text, "" where there is none.
func (s Span) Attribute(key string) string { return text(s.GetAttributes(), key) }

// TraceID is in hex, as in a traceparent; so are SpanID and ParentID.
func (s Span) TraceID() string { return hex.EncodeToString(s.GetTraceId()) }

// SpanID is the span's own id in hex.
func (s Span) SpanID() string { return hex.EncodeToString(s.GetSpanId()) }

// ParentID is the parent's id in hex, "" for a root.
func (s Span) ParentID() string { return hex.EncodeToString(s.GetParentSpanId()) }

func text(attrs []*commonv1.KeyValue, key string) string {
	for _, kv := range attrs {
		if kv.GetKey() != key {
			continue
		}
		switch v := kv.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			return v.StringValue
		case *commonv1.AnyValue_IntValue:
			return fmt.Sprint(v.IntValue)
		case *commonv1.AnyValue_BoolValue:
			return fmt.Sprint(v.BoolValue)
		case *commonv1.AnyValue_DoubleValue:
			return fmt.Sprint(v.DoubleValue)
		default:
			return kv.GetValue().String()
		}
	}
	return ""
}

// SpanSink is a collector of OTLP over gRPC that keeps what it gets.
type SpanSink struct {
	collectorv1.UnimplementedTraceServiceServer

	t    testing.TB
	addr string

	mu    sync.Mutex
	spans []Span
}

// Spans starts a collector on loopback, until the test's end.
func Spans(t testing.TB) *SpanSink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sink := &SpanSink{t: t, addr: ln.Addr().String()}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, sink)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("span sink: %v", err)
		}
	})
	return sink
}

// Addr is the collector's host and port; as OTEL_EXPORTER_OTLP_ENDPOINT write http://
// before it.
func (s *SpanSink) Addr() string { return s.addr }

// Exporter returns an exporter to this collector, until the test's end: the third
// argument of telemetry.New.
func (s *SpanSink) Exporter() sdktrace.SpanExporter {
	s.t.Helper()
	exporter, err := otlptracegrpc.New(context.Background(),
		otlptracegrpc.WithEndpoint(s.addr), otlptracegrpc.WithInsecure())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := exporter.Shutdown(context.Background()); err != nil {
			s.t.Errorf("shut the exporter down: %v", err)
		}
	})
	return exporter
}

// Export is the OTLP service's one method.
func (s *SpanSink) Export(
	_ context.Context, req *collectorv1.ExportTraceServiceRequest,
) (*collectorv1.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		for _, scope := range rs.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				s.spans = append(s.spans, Span{Span: span, Resource: rs.GetResource().GetAttributes()})
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// All returns what has come so far.
func (s *SpanSink) All() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.spans)
}

// Wait waits until cond holds for all spans that came, and returns them. It fails the
// test and lists them when cond does not come to hold.
func (s *SpanSink) Wait(cond func(spans []Span) bool) []Span {
	s.t.Helper()
	for deadline := time.Now().Add(spansWithin); ; time.Sleep(pollEvery) {
		spans := s.All()
		if cond(spans) {
			return spans
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v the spans that were wanted, but:\n%s", spansWithin, list(spans))
		}
	}
}

func list(spans []Span) string {
	var b strings.Builder
	for _, s := range spans {
		fmt.Fprintf(&b, "%s %s <- %s  %s: %s\n", s.TraceID(), s.SpanID(), s.ParentID(), s.Service(), s.GetName())
	}
	return b.String()
}
