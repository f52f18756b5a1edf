package spans

import (
	"crypto/hmac"
	"encoding/hex"
	"math"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// macAttribute is where a span echoes the MAC that came with its trace.
	macAttribute = "dialback.trace_mac"
	serviceName  = "dialback-agent"

	// Caps of one batch and its spans; texts in bytes.
	maxSpans      = 512
	maxName       = 128
	maxAttributes = 32
	maxKey        = 64
	maxValue      = 512
	maxEvents     = 8
	maxLinks      = 8
	maxState      = 512
)

// read returns the spans of a batch that the agent may tell of, cut to size, and
// how many were refused.
func read(otlp []byte, agentID string, key []byte) (kept []*tracev1.Span, refused int) {
	var req collectorv1.ExportTraceServiceRequest
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(otlp, &req); err != nil {
		return nil, 1
	}
	for _, rs := range req.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				if len(kept) == maxSpans || !own(span, agentID, key) {
					refused++
					continue
				}
				trim(span)
				kept = append(kept, span)
			}
		}
	}
	return kept, refused
}

// own reports whether a span is well-formed and belongs to a trace that the agent
// was given: nobody writes into a stranger's trace.
func own(span *tracev1.Span, agentID string, key []byte) bool {
	if len(key) == 0 || len(span.GetTraceId()) != 16 || len(span.GetSpanId()) != 8 {
		return false
	}
	if n := len(span.GetParentSpanId()); n != 0 && n != 8 {
		return false
	}
	if span.GetEndTimeUnixNano() > math.MaxInt64 || span.GetStartTimeUnixNano() > span.GetEndTimeUnixNano() {
		return false
	}
	want := telemetry.TraceMAC(key, agentID, trace.TraceID(span.GetTraceId()))
	for _, kv := range span.GetAttributes() {
		if kv.GetKey() == macAttribute {
			return hmac.Equal(macValue(kv.GetValue()), want)
		}
	}
	return false
}

// macValue reads a MAC that was sent as bytes or, from SDKs whose attributes know
// no bytes, as hexadecimal digits.
func macValue(v *commonv1.AnyValue) []byte {
	if raw := v.GetBytesValue(); raw != nil {
		return raw
	}
	raw, err := hex.DecodeString(v.GetStringValue())
	if err != nil {
		return nil
	}
	return raw
}

// trim cuts a span to size; what a collector does not need to know goes.
func trim(span *tracev1.Span) {
	span.Name = clip(span.GetName(), maxName)
	if len(span.GetTraceState()) > maxState {
		span.TraceState = ""
	}
	span.Attributes = attributes(span.GetAttributes())
	span.Events = span.GetEvents()[:min(len(span.GetEvents()), maxEvents)]
	for _, e := range span.Events {
		e.Name, e.Attributes = clip(e.GetName(), maxName), attributes(e.GetAttributes())
	}
	span.Links = slices.DeleteFunc(span.GetLinks(), func(l *tracev1.Span_Link) bool {
		return len(l.GetTraceId()) != 16 || len(l.GetSpanId()) != 8 || len(l.GetTraceState()) > maxState
	})
	span.Links = span.Links[:min(len(span.Links), maxLinks)]
	for _, l := range span.Links {
		l.Attributes = attributes(l.GetAttributes())
	}
	if span.Status != nil {
		span.Status.Message = clip(span.Status.GetMessage(), maxValue)
	}
}

// attributes keeps scalar ones, cut to size, without the MAC.
func attributes(list []*commonv1.KeyValue) []*commonv1.KeyValue {
	var kept []*commonv1.KeyValue
	for _, kv := range list {
		if len(kept) == maxAttributes || kv.GetKey() == macAttribute || len(kv.GetKey()) > maxKey {
			continue
		}
		switch v := kv.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			v.StringValue = clip(v.StringValue, maxValue)
		case *commonv1.AnyValue_BoolValue, *commonv1.AnyValue_IntValue, *commonv1.AnyValue_DoubleValue:
		default:
			continue
		}
		kept = append(kept, kv)
	}
	return kept
}

// shift moves spans back by d.
func shift(list []*tracev1.Span, d time.Duration) {
	if d <= 0 {
		return
	}
	back := func(t uint64) uint64 { return t - min(t, uint64(d)) }
	for _, span := range list {
		span.StartTimeUnixNano, span.EndTimeUnixNano = back(span.GetStartTimeUnixNano()), back(span.GetEndTimeUnixNano())
		for _, e := range span.GetEvents() {
			e.TimeUnixNano = back(e.GetTimeUnixNano())
		}
	}
}

// stamp says whose spans these are, on auth's word and not the agent's.
func stamp(s *session.Session, list []*tracev1.Span) *tracev1.ResourceSpans {
	return &tracev1.ResourceSpans{
		Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{
			text("service.name", serviceName),
			text("service.instance.id", hex.EncodeToString(s.Instance[:])),
			text("dialback.agent.id", s.Agent),
			text("dialback.account", s.Account),
		}},
		ScopeSpans: []*tracev1.ScopeSpans{{Spans: list}},
	}
}

func text(key, value string) *commonv1.KeyValue {
	return &commonv1.KeyValue{Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: value}}}
}

// clip cuts a text to n bytes.
func clip(s string, n int) string { return s[:min(len(s), n)] }
