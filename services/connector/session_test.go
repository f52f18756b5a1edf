package connector_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/errs"
)

func TestASessionFromHelloToGoodbye(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	if a.GetAgentId() == "" || a.GetResumeToken() == "" || a.GetSessionId() == "" || a.GetProtocolVersion() != 1 ||
		a.GetConnectorId() != r.node.NodeID() || len(a.GetProxyCaPins()) != 1 || a.GetMaxTunnels() == 0 ||
		a.GetPingInterval().AsDuration() != 10*time.Second || a.GetPingTimeout().AsDuration() != unheard {
		t.Errorf("AuthResp %v", a.AuthResp)
	}
	a.ping(7)
	a.hearPong(7)

	req := reqTunnel(1, tunnelID(1))
	req.Name = &agentv1.ReqTunnel_Subdomain{Subdomain: "app"}
	req.Options = []byte("opaque")
	answers := a.ask(req)
	if len(answers) != 2 || answers[0].GetUrl() != "https://app.example.com:8443" || answers[1].GetUrl() != "http://app.example.com" ||
		answers[0].GetTunnelId() != req.GetTunnelId() || answers[0].GetProtocol() != proxyv1.Protocol_PROTOCOL_HTTP {
		t.Errorf("answers %v", answers)
	}
	bind := r.registry.binds[0]
	if bind.GetSessionId() != a.GetSessionId() || string(bind.GetAssertion().GetAssertion()) != "t-acme" ||
		string(bind.GetOptions()) != "opaque" || bind.GetNodeId() != r.node.NodeID() || bind.GetClientAddress() == "" {
		t.Errorf("bind %v", bind)
	}

	a.closeTunnel(tunnelID(1))
	if closed := a.hearClosed(); closed.GetReason() != agentv1.CloseReason_CLOSE_REASON_CLOSED || !r.registry.hasReleased(tunnelID(1)) {
		t.Errorf("closed %v", closed)
	}
	if err := a.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := a.end(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_CLOSED)
}

// ended waits until the registry has heard of a session's end.
func (r *rig) ended(id string, want agentv1.CloseReason) {
	r.t.Helper()
	eventually(r.t, func() bool { _, ok := r.registry.endOf(id); return ok }, "the registry hears of the end")
	if got, _ := r.registry.endOf(id); got != want {
		r.t.Errorf("the registry was told %v, want %v", got, want)
	}
}

// An agent that half-closes at once behind its requests still gets its answers.
func TestAnswersSurviveAHalfClose(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	a.closeTunnel(tunnelID(1))
	if err := a.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	a.hearClosed()
	if err := a.end(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestAnAgentThatVanishesIsLost(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	_ = a.conn.Close()
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
}

func TestHelloIsChecked(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	old, short, long, stranger := hello("t-acme"), hello("t-acme"), hello("t-acme"), hello("nonsense")
	old.ProtocolVersion = 0
	short.Instance = short.Instance[:15]
	long.AgentId = strings.Repeat("a", 257)
	for name, c := range map[string]struct {
		auth   *agentv1.Auth
		kind   errs.Kind
		reason errs.Reason
	}{
		"too old":        {old, errs.FailedPrecondition, errs.ReasonVersionUnsupported},
		"short instance": {short, errs.InvalidArgument, errs.ReasonInvalidArgument},
		"long agent id":  {long, errs.InvalidArgument, errs.ReasonInvalidArgument},
		"wrong token":    {stranger, errs.Unauthenticated, errs.ReasonTokenInvalid},
	} {
		if _, err := r.tryJoin(c.auth); !errors.Is(err, errs.New(c.kind, c.reason, "")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := hello("t-acme")
	newer.ProtocolVersion = 99
	if a := r.join(newer); a.GetProtocolVersion() != 1 {
		t.Errorf("a newer agent is to speak version %d", a.GetProtocolVersion())
	}
}

func TestTheVersionRefusalNamesTheVersions(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	auth := hello("t-acme")
	auth.ProtocolVersion = 0
	_, err := r.tryJoin(auth)
	if e, ok := errs.From(err); !ok || !strings.Contains(e.Message(), "versions 1 to 1") {
		t.Errorf("got %v", err)
	}
}

func TestTheFirstMessageMustBeAuth(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	stream, _ := r.connect()
	if err := stream.Send(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Ping{Ping: &agentv1.Ping{Id: 1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "")) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownMessagesAreIgnored(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	unknown := &agentv1.ConnectRequest{}
	unknown.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "future"))
	a.say(unknown)
	a.say(&agentv1.ConnectRequest{})
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Auth{Auth: hello("t-acme")}})
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ProxyFailed{ProxyFailed: &agentv1.ProxyFailed{Ticket: []byte("never asked")}}})
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Pong{Pong: &agentv1.Pong{Id: 12345}}})
	a.closeTunnel("nonsense")
	a.ping(1)
	a.hearPong(1)
}

func TestAnOversizedMessageEndsOnlyItsSession(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a, b := r.join(hello("t-acme")), r.join(hello("t-acme"))
	req := reqTunnel(1, tunnelID(1))
	req.Options = make([]byte, 65<<10)
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ReqTunnel{ReqTunnel: req}})
	if e, ok := errs.From(a.end()); !ok || e.Kind() != errs.ResourceExhausted { // gRPC's own word
		t.Errorf("got %v", e)
	}
	b.ping(1)
	b.hearPong(1)
}

func TestASilentSessionIsUnresponsive(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain, livelyPings)
	watch := r.watch()
	a := r.join(hello("t-acme")) // answers no ping
	end, err := watch.Recv()
	if err != nil || end.GetSessionId() != a.GetSessionId() || end.GetReason() != agentv1.CloseReason_CLOSE_REASON_UNRESPONSIVE {
		t.Fatalf("got %v, %v", end, err)
	}
	if err := a.end(); !errors.Is(err, errs.New(errs.Unavailable, errs.ReasonUnavailable, "")) {
		t.Errorf("the agent was told %v", err)
	}
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_UNRESPONSIVE)
}

// An agent that sends pings but does not answer ours would not read a ReqProxy
// either.
func TestTalkingWithoutListeningIsUnresponsive(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain, livelyPings)
	a := r.join(hello("t-acme"))
	ended := make(chan error, 1)
	go func() { ended <- a.end() }()
	for id := uint64(1); ; id++ {
		select {
		case err := <-ended:
			if !errors.Is(err, errs.New(errs.Unavailable, errs.ReasonUnavailable, "")) {
				t.Errorf("the agent was told %v", err)
			}
			return
		case <-time.After(50 * time.Millisecond):
			_ = a.stream.Send(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Ping{Ping: &agentv1.Ping{Id: id}}})
		case <-r.ctx.Done():
			t.Fatal("the session lives")
		}
	}
}

func TestManyAttachmentsOfOneProcessDropTheOldest(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	first := r.join(hello("t-acme"))
	again := hello("t-acme")
	again.AgentId, again.ResumeToken = first.GetAgentId(), first.GetResumeToken()
	for range 4 {
		if a := r.join(again); a.GetAgentId() != first.GetAgentId() {
			t.Fatalf("got another agent id: %s", a.GetAgentId())
		}
	}
	if err := first.end(); !errors.Is(err, errs.New(errs.Unavailable, errs.ReasonUnavailable, "")) {
		t.Errorf("the oldest was told %v", err)
	}
}
