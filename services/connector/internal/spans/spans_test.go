package spans

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/connector/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = []byte("0123456789abcdef0123456789abcdef")

func agentSession() *session.Session {
	return session.New(session.Identity{Agent: "agent1", Account: "acme", Instance: session.Instance{1}},
		"192.0.2.1:1234", session.Assertion{}, func(session.Reason) {})
}

// span returns one of agent1's, changed as the test wants it.
func span(change ...func(*tracev1.Span)) *tracev1.Span {
	id := trace.TraceID{7}
	s := &tracev1.Span{
		TraceId: id[:], SpanId: []byte("12345678"), ParentSpanId: []byte("87654321"), Name: "dial",
		StartTimeUnixNano: 1e9, EndTimeUnixNano: 2e9,
		Attributes: []*commonv1.KeyValue{text(macAttribute, hex.EncodeToString(telemetry.TraceMAC(key, "agent1", id)))},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func batch(t testing.TB, spans ...*tracev1.Span) []byte {
	t.Helper()
	raw, err := proto.Marshal(&collectorv1.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{{
		Resource:   &resourcev1.Resource{Attributes: []*commonv1.KeyValue{text("service.name", "frontdoor"), text("host.name", "secret")}},
		ScopeSpans: []*tracev1.ScopeSpans{{Spans: spans}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestOnlyAnAgentsOwnSpansPass(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*tracev1.Span)
		want   int
	}{
		"its own": {func(*tracev1.Span) {}, 1},
		"mac as bytes": {func(s *tracev1.Span) {
			s.Attributes[0].Value = bytesValue(telemetry.TraceMAC(key, "agent1", trace.TraceID{7}))
		}, 1},
		"a root":             {func(s *tracev1.Span) { s.ParentSpanId = nil }, 1},
		"a stranger's trace": {func(s *tracev1.Span) { s.TraceId = append([]byte{8}, s.TraceId[1:]...) }, 0},
		"another agent's": {func(s *tracev1.Span) {
			s.Attributes[0].Value = bytesValue(telemetry.TraceMAC(key, "agent2", trace.TraceID{7}))
		}, 0},
		"no mac":            {func(s *tracev1.Span) { s.Attributes = nil }, 0},
		"half a mac":        {func(s *tracev1.Span) { s.Attributes[0] = text(macAttribute, "0011") }, 0},
		"no trace id":       {func(s *tracev1.Span) { s.TraceId = nil }, 0},
		"long span id":      {func(s *tracev1.Span) { s.SpanId = make([]byte, 9) }, 0},
		"long parent":       {func(s *tracev1.Span) { s.ParentSpanId = make([]byte, 16) }, 0},
		"ends before begin": {func(s *tracev1.Span) { s.EndTimeUnixNano = 1 }, 0},
		"end of time":       {func(s *tracev1.Span) { s.EndTimeUnixNano = 1 << 63 }, 0},
	} {
		kept, refused := read(batch(t, span(c.change)), "agent1", key)
		if len(kept) != c.want || refused != 1-c.want {
			t.Errorf("%s: kept %d, refused %d", name, len(kept), refused)
		}
	}
	if kept, refused := read(batch(t, span()), "agent1", nil); len(kept) != 0 || refused != 1 {
		t.Error("without a key a span passed")
	}
	if _, refused := read([]byte("\xff\xff\xff"), "agent1", key); refused != 1 {
		t.Error("garbage is not counted")
	}
}

func bytesValue(b []byte) *commonv1.AnyValue {
	return &commonv1.AnyValue{Value: &commonv1.AnyValue_BytesValue{BytesValue: b}}
}

func TestSpansAreCutToSize(t *testing.T) {
	t.Parallel()
	big := span(func(s *tracev1.Span) {
		s.Name = strings.Repeat("n", 1000)
		s.TraceState = strings.Repeat("s", 1000)
		s.Status = &tracev1.Status{Message: strings.Repeat("m", 1000)}
		for range 100 {
			s.Attributes = append(s.Attributes, text("k", strings.Repeat("v", 1000)))
			s.Events = append(s.Events, &tracev1.Span_Event{Name: "e"})
			s.Links = append(s.Links, &tracev1.Span_Link{TraceId: make([]byte, 16), SpanId: make([]byte, 8)})
		}
		s.Attributes = append([]*commonv1.KeyValue{
			text(strings.Repeat("k", 100), "v"),
			{Key: "list", Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_ArrayValue{}}},
		}, s.Attributes...)
		s.Links = append([]*tracev1.Span_Link{{TraceId: []byte("short")}}, s.Links...)
	})
	kept, _ := read(batch(t, big), "agent1", key)
	if len(kept) != 1 {
		t.Fatal("refused")
	}
	s := kept[0]
	if len(s.GetName()) != maxName || s.GetTraceState() != "" || len(s.GetStatus().GetMessage()) != maxValue ||
		len(s.GetAttributes()) != maxAttributes || len(s.GetEvents()) != maxEvents || len(s.GetLinks()) != maxLinks {
		t.Errorf("kept %v", s)
	}
	for _, kv := range s.GetAttributes() {
		if kv.GetKey() != "k" || len(kv.GetValue().GetStringValue()) != maxValue {
			t.Fatalf("attribute %v", kv.GetKey())
		}
	}
}

// gathered is an exporter that keeps what it gets.
type gathered struct {
	mu    sync.Mutex
	spans []*tracev1.ResourceSpans
	fail  error
	hold  chan struct{}
}

func (g *gathered) export(ctx context.Context, spans []*tracev1.ResourceSpans) error {
	if g.hold != nil {
		select {
		case <-g.hold:
		case <-ctx.Done():
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return g.fail
	}
	g.spans = append(g.spans, spans...)
	return nil
}

func (g *gathered) list() []*tracev1.ResourceSpans {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.spans
}

func run(t *testing.T, export Exporter) *Intake {
	t.Helper()
	in := New(export, func() []byte { return key }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- in.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return in
}

func TestSpansAreStampedWithTheVerifiedIdentity(t *testing.T) {
	t.Parallel()
	g := &gathered{}
	in := run(t, g.export)
	in.Offer(agentSession(), batch(t, span()))
	testkit.Eventually(t, 30*time.Second, func() bool { return len(g.list()) == 1 }, "the span is exported")
	got := map[string]string{}
	for _, kv := range g.list()[0].GetResource().GetAttributes() {
		got[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	want := map[string]string{
		"service.name": "dialback-agent", "dialback.agent.id": "agent1", "dialback.account": "acme",
		"service.instance.id": "01000000000000000000000000000000",
	}
	if len(got) != len(want) {
		t.Errorf("resource %v", got)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
	}
}

// An agent whose clock is ahead must not put its spans into the future; and once
// it is known by how much, its older spans move as well.
func TestAClockThatIsAheadIsPutBack(t *testing.T) {
	t.Parallel()
	const ahead = 3 * time.Minute
	g := &gathered{}
	in := run(t, g.export)
	s := agentSession()
	end := time.Now().Add(ahead)
	timed := func(end time.Time) []byte {
		return batch(t, span(func(s *tracev1.Span) {
			s.StartTimeUnixNano, s.EndTimeUnixNano = uint64(end.Add(-time.Second).UnixNano()), uint64(end.UnixNano())
			s.Events = []*tracev1.Span_Event{{TimeUnixNano: uint64(end.UnixNano())}}
		}))
	}
	in.Offer(s, timed(end))
	in.Offer(s, timed(end.Add(-time.Minute)))
	testkit.Eventually(t, 30*time.Second, func() bool { return len(g.list()) == 2 }, "the spans are exported")
	now := time.Now()
	first, second := g.list()[0].GetScopeSpans()[0].GetSpans()[0], g.list()[1].GetScopeSpans()[0].GetSpans()[0]
	if int64(first.GetEndTimeUnixNano()) > now.UnixNano() || int64(first.GetEvents()[0].GetTimeUnixNano()) > now.UnixNano() {
		t.Error("a span ends in the future")
	}
	if d := first.GetEndTimeUnixNano() - first.GetStartTimeUnixNano(); d != uint64(time.Second) {
		t.Errorf("its length became %v", time.Duration(d))
	}
	if d := first.GetEndTimeUnixNano() - second.GetEndTimeUnixNano(); d != uint64(time.Minute) {
		t.Errorf("their distance became %v", time.Duration(d))
	}
}

func TestTooMuchIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	g := &gathered{hold: hold}
	in := run(t, g.export)
	s := agentSession()
	in.Offer(s, make([]byte, MaxBatch+1))
	if in.Dropped() != 1 {
		t.Errorf("too large: %d dropped", in.Dropped())
	}
	full := batch(t, span(func(s *tracev1.Span) {
		s.Attributes = append(s.Attributes, text("padding", strings.Repeat("x", MaxBatch-1024)))
	}))
	for range 64 { // 4 MiB at once
		in.Offer(s, full)
	}
	if n := in.Dropped(); n < 32 || n > 60 {
		t.Errorf("a flood: %d dropped of 64", n)
	}
	// Another agent is not held up by it, nor by an exporter that hangs.
	before := in.Dropped()
	other := agentSession()
	in.Offer(other, batch(t, span()))
	if in.Dropped() != before {
		t.Error("another agent's span was dropped")
	}
	for range queued * 2 {
		in.Offer(agentSession(), batch(t, span()))
	}
	if in.Dropped() == before {
		t.Error("the queue has no bound")
	}
	close(hold)
	in.Forget(s)
	in.Forget(other)
}

func TestAFailingExporterLosesSpansOnly(t *testing.T) {
	t.Parallel()
	g := &gathered{fail: errors.New("collector away")}
	in := run(t, g.export)
	in.Offer(agentSession(), batch(t, span()))
	testkit.Eventually(t, 30*time.Second, func() bool { return in.Dropped() == 1 }, "the loss is counted")
	g.mu.Lock()
	g.fail = nil
	g.mu.Unlock()
	in.Offer(agentSession(), batch(t, span()))
	testkit.Eventually(t, 30*time.Second, func() bool { return len(g.list()) == 1 }, "the next one passes")
}

func FuzzRead(f *testing.F) {
	f.Add(batch(f, span()))
	f.Add(batch(f, span(), span(func(s *tracev1.Span) { s.Status = &tracev1.Status{} })))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, raw []byte) {
		kept, _ := read(raw, "agent1", key)
		shift(kept, time.Hour)
		for _, s := range kept {
			if len(s.GetName()) > maxName || len(s.GetAttributes()) > maxAttributes || len(s.GetLinks()) > maxLinks || len(s.GetEvents()) > maxEvents {
				t.Fatal("not cut to size")
			}
			if s.GetStartTimeUnixNano() > s.GetEndTimeUnixNano() {
				t.Fatal("ends before it begins")
			}
		}
	})
}
