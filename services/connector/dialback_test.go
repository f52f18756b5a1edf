package connector_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/types/known/durationpb"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/connector"
)

const (
	asked      = connectorv1.Verdict_VERDICT_ASKED
	noSession  = connectorv1.Verdict_VERDICT_NO_SESSION
	overloaded = connectorv1.Verdict_VERDICT_OVERLOADED
	failed     = connectorv1.Verdict_VERDICT_FAILED
	ended      = connectorv1.Verdict_VERDICT_SESSION_ENDED
)

func ticket() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return b
}

func (a *agent) wanted(tickets ...[]byte) *connectorv1.RequestProxyRequest {
	return &connectorv1.RequestProxyRequest{
		AgentId: a.GetAgentId(), Instance: a.instance, SessionId: a.GetSessionId(), Tickets: tickets,
		Addresses: []string{"f1.example.com:443", "lb.example.com:443"}, ServerName: "f1-x.proxy.example.com",
		Remaining: durationpb.New(limit),
	}
}

func (a *agent) hearDials() []*agentv1.Dial {
	a.t.Helper()
	return a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetReqProxy() != nil }).GetReqProxy().GetDials()
}

// verdict reads one verdict.
func verdict(t *testing.T, stream connectorv1.DialbackService_RequestProxyClient) *connectorv1.RequestProxyResponse {
	t.Helper()
	v, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func requestProxy(ctx context.Context, t *testing.T, f connectorv1.DialbackServiceClient, req *connectorv1.RequestProxyRequest) connectorv1.DialbackService_RequestProxyClient {
	t.Helper()
	stream, err := f.RequestProxy(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestADialBackIsAskedForAndFails(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain, func(_ *connector.Config, d *connector.Deps) {
		d.Telemetry = &telemetry.Telemetry{Tracer: sdktrace.NewTracerProvider(), Propagator: telemetry.Noop().Propagator}
	})
	a := r.join(hello("t-acme"))
	f := r.frontdoor()
	bad, good := ticket(), ticket()
	stream := requestProxy(r.ctx, t, f, a.wanted(bad, good))
	for _, want := range [][]byte{bad, good} {
		if v := verdict(t, stream); v.GetVerdict() != asked || !bytes.Equal(v.GetTicket(), want) {
			t.Fatalf("verdict %v", v.GetVerdict())
		}
	}
	dials := a.hearDials()
	for len(dials) < 2 {
		dials = append(dials, a.hearDials()...)
	}
	d := dials[0]
	if !bytes.Equal(d.GetTicket(), bad) || len(d.GetAddresses()) != 2 || d.GetServerName() != "f1-x.proxy.example.com" {
		t.Errorf("dial to %v, %s", d.GetAddresses(), d.GetServerName())
	}
	if left := d.GetRemaining().AsDuration(); left <= 0 || left > limit {
		t.Errorf("remaining %v", left)
	}
	sc := trace.SpanContextFromContext(telemetry.Extract(context.Background(), d.GetTrace()))
	if !sc.IsValid() || !bytes.Equal(d.GetTrace().GetMac(), telemetry.TraceMAC(traceKey, a.GetAgentId(), sc.TraceID())) {
		t.Errorf("trace %v", d.GetTrace())
	}
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ProxyFailed{ProxyFailed: &agentv1.ProxyFailed{
		Ticket: bad, Reason: agentv1.FailReason_FAIL_REASON_TLS,
	}}})
	v := verdict(t, stream)
	if v.GetVerdict() != failed || !bytes.Equal(v.GetTicket(), bad) || v.GetReason() != agentv1.FailReason_FAIL_REASON_TLS {
		t.Errorf("verdict %v, %v", v.GetVerdict(), v.GetReason())
	}
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ProxyFailed{ProxyFailed: &agentv1.ProxyFailed{Ticket: good}}})
	verdict(t, stream)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("nothing more can come, and the stream ended with %v", err)
	}
	eventually(t, func() bool { return r.node.Asked(a.GetSessionId()) == 0 }, "no ticket is kept")
}

func TestAnAgentSpeaksOfItsOwnTicketsOnly(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a, rival := r.join(hello("t-acme")), r.join(hello("t-rival"))
	f := r.frontdoor()
	mine := ticket()
	stream := requestProxy(r.ctx, t, f, a.wanted(mine))
	verdict(t, stream)
	rival.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ProxyFailed{ProxyFailed: &agentv1.ProxyFailed{Ticket: mine}}})
	rival.ping(1)
	rival.hearPong(1)
	if r.node.Asked(a.GetSessionId()) != 1 {
		t.Error("a stranger has failed the ticket")
	}
}

func TestASessionsEndIsAVerdict(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	f := r.frontdoor()
	stream := requestProxy(r.ctx, t, f, a.wanted(ticket()))
	verdict(t, stream)
	begin := time.Now()
	_ = a.conn.Close()
	if v := verdict(t, stream); v.GetVerdict() != ended {
		t.Errorf("verdict %v", v.GetVerdict())
	}
	t.Logf("the verdict took %v", time.Since(begin))
	if v := verdict(t, requestProxy(r.ctx, t, f, a.wanted(ticket()))); v.GetVerdict() != noSession {
		t.Errorf("afterwards: %v", v.GetVerdict())
	}
}

func TestAllNamesOfASessionMustAgree(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a, other := r.join(hello("t-acme")), r.join(hello("t-acme"))
	f := r.frontdoor()
	for name, change := range map[string]func(*connectorv1.RequestProxyRequest){
		"another agent":    func(q *connectorv1.RequestProxyRequest) { q.AgentId = other.GetAgentId() },
		"another instance": func(q *connectorv1.RequestProxyRequest) { q.Instance = instance(2) },
		"another session":  func(q *connectorv1.RequestProxyRequest) { q.SessionId = other.GetSessionId() },
	} {
		req := a.wanted(ticket())
		change(req)
		if v := verdict(t, requestProxy(r.ctx, t, f, req)); v.GetVerdict() != noSession {
			t.Errorf("%s: %v", name, v.GetVerdict())
		}
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	f := r.frontdoor()
	for name, change := range map[string]func(*connectorv1.RequestProxyRequest){
		"no ticket":      func(q *connectorv1.RequestProxyRequest) { q.Tickets = nil },
		"short ticket":   func(q *connectorv1.RequestProxyRequest) { q.Tickets[0] = q.Tickets[0][:15] },
		"long ticket":    func(q *connectorv1.RequestProxyRequest) { q.Tickets[0] = make([]byte, 65) },
		"too many":       func(q *connectorv1.RequestProxyRequest) { q.Tickets = make([][]byte, 257) },
		"no time":        func(q *connectorv1.RequestProxyRequest) { q.Remaining = nil },
		"many addresses": func(q *connectorv1.RequestProxyRequest) { q.Addresses = make([]string, 9) },
	} {
		req := a.wanted(ticket())
		change(req)
		_, err := requestProxy(r.ctx, t, f, req).Recv()
		if !errors.Is(err, errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyFrontdoorsMayAsk(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	for _, role := range []string{tlsconf.RoleConnector, tlsconf.RoleAdmin, tlsconf.RoleRegistry, tlsconf.RoleAuth} {
		c := connectorv1.NewDialbackServiceClient(r.dial(r.services, role, tlsconf.RoleConnector))
		if _, err := requestProxy(r.ctx, t, c, a.wanted(ticket())).Recv(); !errors.Is(err, rpc.ErrDenied) {
			t.Errorf("%s: RequestProxy: %v", role, err)
		}
		watch, err := c.WatchSessions(r.ctx, &connectorv1.WatchSessionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); !errors.Is(err, rpc.ErrDenied) {
			t.Errorf("%s: WatchSessions: %v", role, err)
		}
	}
}

// A burst of visitors must not close an agent's session, nor delay its pongs
// behind dial-backs, and leaves nothing behind.
func TestABurstIsShedAndTheSessionLives(t *testing.T) {
	t.Parallel()
	const burst, askers = 5000, 50
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	f := r.frontdoor()
	ctx, cancel := context.WithCancel(r.ctx)
	var got [6]atomic.Int64
	var group sync.WaitGroup
	for range askers {
		group.Go(func() {
			for range burst / askers {
				stream, err := f.RequestProxy(ctx, a.wanted(ticket()))
				if err != nil {
					t.Error(err)
					return
				}
				v, err := stream.Recv()
				if err != nil {
					t.Error(err)
					return
				}
				got[v.GetVerdict()].Add(1)
			}
		})
	}
	group.Wait() // the agent has read nothing yet
	if sum := got[asked].Load() + got[overloaded].Load(); sum != burst || got[asked].Load() < 256 {
		t.Errorf("%d asked and %d refused of %d", got[asked].Load(), got[overloaded].Load(), burst)
	}
	t.Logf("%d asked, %d refused", got[asked].Load(), got[overloaded].Load())
	a.ping(1)
	a.hearPong(1)
	cancel()
	eventually(t, func() bool { return r.node.Asked(a.GetSessionId()) == 0 }, "no ticket is kept")
	last := ticket()
	verdict(t, requestProxy(r.ctx, t, f, a.wanted(last)))
	for !bytes.Equal(a.hearDials()[0].GetTicket(), last) {
		continue
	}
}

// One agent that does not read at all costs only itself.
func TestASessionThatDoesNotReadDelaysNobody(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain, func(cfg *connector.Config, _ *connector.Deps) {
		cfg.PingInterval, cfg.PingTimeout = 500*time.Millisecond, 3*time.Second
	})
	watch := r.watch()
	deaf, other := r.join(hello("t-acme")), r.join(hello("t-acme"))
	f := r.frontdoor()
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	for { // until its stream's window and its outbox are full
		tickets := make([][]byte, 256)
		for i := range tickets {
			tickets[i] = ticket()
		}
		stream := requestProxy(ctx, t, f, deaf.wanted(tickets...))
		full := false
		for range tickets {
			full = verdict(t, stream).GetVerdict() == overloaded || full
		}
		if full {
			break
		}
	}
	want := ticket()
	if v := verdict(t, requestProxy(ctx, t, f, other.wanted(want))); v.GetVerdict() != asked {
		t.Fatalf("verdict %v", v.GetVerdict())
	}
	if d := other.hearDials(); !bytes.Equal(d[0].GetTicket(), want) {
		t.Error("another dial")
	}
	// The one that reads goes on living while the other dies.
	ends := make(chan *connectorv1.WatchSessionsResponse, 1)
	go func() {
		e, err := watch.Recv()
		if err != nil {
			t.Error(err)
		}
		ends <- e
	}()
	for id := uint64(1); ; id++ {
		other.ping(id)
		other.hearPong(id)
		select {
		case e := <-ends:
			if e.GetSessionId() != deaf.GetSessionId() || e.GetReason() != agentv1.CloseReason_CLOSE_REASON_UNRESPONSIVE {
				t.Errorf("ended: %v", e)
			}
			// Its connection goes as well: what it has not read would stay for ever.
			eventually(t, func() bool { return deaf.conn.GetState() != connectivity.Ready }, "the connection is closed")
			return
		default:
		}
	}
}

func TestAnAskingEndsWithItsTime(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	req := a.wanted(ticket())
	req.Remaining = durationpb.New(50 * time.Millisecond)
	stream := requestProxy(r.ctx, t, r.frontdoor(), req)
	verdict(t, stream)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	eventually(t, func() bool { return r.node.Asked(a.GetSessionId()) == 0 }, "no ticket is kept")
}

func TestVerdictsCarryTheRoundTrip(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain, func(cfg *connector.Config, _ *connector.Deps) { cfg.PingInterval = 100 * time.Millisecond })
	a := r.join(hello("t-acme"))
	f := r.frontdoor()
	a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetPing() != nil })
	eventually(t, func() bool {
		v := verdict(t, requestProxy(r.ctx, t, f, a.wanted(ticket())))
		return v.GetRtt().AsDuration() > 0
	}, "the verdict carries a round trip")
}
