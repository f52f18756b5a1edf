package agent_test

import (
	"encoding/hex"
	"slices"
	"testing"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/testkit"
)

const traceID = "0af7651916cd43dd8448eb211c80319c"

func traceContext(span, flags, mac string) *proxyv1.TraceContext {
	return &proxyv1.TraceContext{Traceparent: "00-" + traceID + "-" + span + "-" + flags, Mac: []byte(mac)}
}

func attribute(span *tracev1.Span, key string) string {
	for _, kv := range span.GetAttributes() {
		if kv.GetKey() == key {
			return kv.GetValue().GetStringValue()
		}
	}
	return ""
}

func TestTheAgentsSpansOfAVisit(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	session := server.Session(1)
	tunnel := session.Tunnel()
	conn := server.DialBack(session, traceContext("1111111111111111", "01", "mac-dial"))
	e := server.Begin(conn, tunnel, traceContext("2222222222222222", "01", "mac-strt"))
	first, second := []byte("span-one"), []byte("span-two")
	server.Get(e, "/", &proxyv1.Req{Trace: traceContext("3333333333333333", "01", "mac-req1"), SpanId: first})
	server.Get(e, "/", &proxyv1.Req{Trace: traceContext("4444444444444444", "01", "mac-req2"), SpanId: second})
	_ = e.Close()
	<-e.End()
	if err := r.stop(); err != nil { // which sends what is left
		t.Fatal(err)
	}
	spans := map[string]*tracev1.Span{}
	for _, span := range server.Spans() {
		spans[span.GetName()+" "+hex.EncodeToString(span.GetParentSpanId())[:1]] = span
	}
	for name, mac := range map[string]string{
		"dialback.dial 1": "mac-dial", "private.connect 2": "mac-strt", "private.request 3": "mac-req1", "private.request 4": "mac-req2",
	} {
		span := spans[name]
		if span == nil {
			t.Fatalf("no span %s in %v", name, server.Spans())
		}
		if hex.EncodeToString(span.GetTraceId()) != traceID || attribute(span, "dialback.trace_mac") != hex.EncodeToString([]byte(mac)) {
			t.Errorf("%s: %v", name, span)
		}
	}
	one, two := spans["private.request 3"], spans["private.request 4"]
	if string(one.GetSpanId()) != string(first) || string(two.GetSpanId()) != string(second) {
		t.Error("the requests' spans do not have the ids that the local service was told")
	}
	if attribute(one, "private.connection") != "new" || attribute(two, "private.connection") != "reused" {
		t.Error("the spans do not tell a new private connection from a reused one")
	}
	if links := two.GetLinks(); len(links) != 1 || string(links[0].GetSpanId()) != string(spans["dialback.dial 1"].GetSpanId()) {
		t.Errorf("links of the second request: %v", links)
	}
	if sessions := server.SpanSessions(); !slices.Contains(sessions, session.Welcome.GetSessionId()) {
		t.Errorf("the spans came with sessions %v", sessions)
	}
}

// The connection stays open behind the reply, and nothing tells the agent that
// the request is over: its span comes all the same, and what is learned later
// comes in another one, linked to it.
func TestASpanDoesNotWaitForTheEndOfItsConnection(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	session := server.Session(1)
	e := server.Begin(server.DialBack(session, nil), session.Tunnel(), nil)
	server.Get(e, "/", &proxyv1.Req{Trace: traceContext("3333333333333333", "01", "mac-req1"), SpanId: []byte("span-one")})
	named := func(name string) func() bool {
		return func() bool {
			return slices.ContainsFunc(server.Spans(), func(s *tracev1.Span) bool { return s.GetName() == name })
		}
	}
	testkit.Eventually(t, agenttest.Limit, named("private.request"), "the span of a request on an open connection")
	_ = e.Close()
	testkit.Eventually(t, agenttest.Limit, named("private.request.end"), "the span of its end")
	for _, span := range server.Spans() {
		if span.GetName() == "private.request.end" && (len(span.GetLinks()) != 1 || string(span.GetLinks()[0].GetSpanId()) != "span-one") {
			t.Errorf("links of the end: %v", span.GetLinks())
		}
	}
}

func TestOnlySampledTracesAreRecorded(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	session := server.Session(1)
	tunnel := session.Tunnel()
	for _, trace := range []*proxyv1.TraceContext{nil, traceContext("1111111111111111", "00", "mac"), {Traceparent: "nonsense", Mac: make([]byte, 1<<10)}} {
		conn := server.DialBack(session, trace)
		e := server.Begin(conn, tunnel, trace)
		server.Get(e, "/", &proxyv1.Req{Trace: trace})
		_ = e.Close()
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if spans := server.Spans(); len(spans) > 0 {
		t.Errorf("spans %v", spans)
	}
}

// More spans than the way up takes: they are dropped, the session lives.
func TestSpansNeverHoldTheSession(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	session := server.Session(1)
	e := server.Begin(server.DialBack(session, nil), session.Tunnel(), nil)
	for range 1500 {
		server.Get(e, "/", &proxyv1.Req{Trace: traceContext("1111111111111111", "01", "mac")})
	}
	testkit.Eventually(t, agenttest.Limit, func() bool { return len(server.Spans()) > 500 }, "spans")
	if server.Sessions() != 1 {
		t.Error("the session was lost")
	}
}
