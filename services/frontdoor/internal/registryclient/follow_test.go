package registryclient

import (
	"slices"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const host = "app.example.com"

// heard is a Listener that remembers.
type heard struct{ calls []string }

func (h *heard) Connector(c route.Connector) { h.calls = append(h.calls, "+"+c.ID) }
func (h *heard) ConnectorGone(id string)     { h.calls = append(h.calls, "-"+id) }
func (h *heard) Connectors(list []route.Connector) {
	for _, c := range list {
		h.calls = append(h.calls, "="+c.ID)
	}
}

func (h *heard) Cut(agent route.Agent, tunnelID string) {
	h.calls = append(h.calls, "cut "+agent.ID+" "+tunnelID)
}

func newStepper(t *testing.T) (*stepper, *heard) {
	listener := &heard{}
	table := route.NewTable(time.Now, func(_, _ *route.Route) {})
	return &stepper{Follower: NewFollower(FollowerDeps{
		Table: table, Nodes: nodes.NewTable(time.Now), Listener: listener, Logger: testkit.Logger(t),
	})}, listener
}

func claimed(generation uint64) *registryv1.Change {
	return &registryv1.Change{Change: &registryv1.Change_Claim{Claim: &registryv1.Claim{
		Hostname: host, Generation: generation, AgentId: "a", Instance: make([]byte, 16), TunnelId: "t",
		State: registryv1.ClaimState_CLAIM_STATE_ACTIVE, Protocol: proxyv1.Protocol_PROTOCOL_HTTP,
	}}}
}

func attached() *registryv1.Change {
	return &registryv1.Change{Change: &registryv1.Change_Attachment{Attachment: theAttachment()}}
}

func theAttachment() *registryv1.Attachment {
	return &registryv1.Attachment{Hostname: host, Generation: 1, ConnectorId: "c", SessionId: "s"}
}

func connector() *registryv1.Change {
	return &registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_CONNECTOR, Id: "c", Synced: true, Registration: 1,
	}}}
}

func position(revision int64) *registryv1.Position {
	return &registryv1.Position{Epoch: 1, Revision: revision}
}

func (s *stepper) must(t *testing.T, r *registryv1.WatchResponse) {
	t.Helper()
	if err := s.apply(r); err != nil {
		t.Fatal(err)
	}
}

// A snapshot counts when it is whole: a stream that breaks in its middle must
// not make the missing half disappear.
func TestASnapshotIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s, listener := newStepper(t)
	s.must(t, &registryv1.WatchResponse{Snapshot: true, Changes: []*registryv1.Change{claimed(1), connector()}})
	if s.table.Lookup(host) != nil {
		t.Fatal("half a snapshot counts")
	}
	s.must(t, &registryv1.WatchResponse{Changes: []*registryv1.Change{attached()}, Position: position(10)})
	if r := s.table.Lookup(host); r == nil || len(r.Attachments()) != 1 {
		t.Fatalf("route: %+v", r)
	}
	if !slices.Equal(listener.calls, []string{"=c"}) {
		t.Errorf("heard %v", listener.calls)
	}
	select {
	case <-s.Standing():
	default:
		t.Error("not standing")
	}
	again := &stepper{Follower: s.Follower}
	again.must(t, &registryv1.WatchResponse{Snapshot: true})
	if s.table.Lookup(host) == nil {
		t.Error("an unfinished snapshot emptied the table")
	}
	if err := again.apply(&registryv1.WatchResponse{Position: position(9)}); err == nil || s.table.Lookup(host) == nil {
		t.Errorf("a snapshot from before was taken: %v", err)
	}
}

// A watch is resumed only behind a whole revision: one expired lease may be many
// messages.
func TestAPositionIsNotedOnlyWhenItIsSet(t *testing.T) {
	t.Parallel()
	s, _ := newStepper(t)
	s.must(t, &registryv1.WatchResponse{Snapshot: true, Position: position(10)})
	s.must(t, &registryv1.WatchResponse{Changes: []*registryv1.Change{claimed(1)}})
	if p, _ := s.table.Progress(); p.Revision != 10 || s.table.Lookup(host) == nil {
		t.Errorf("in the middle of a revision: %+v", p)
	}
	s.must(t, &registryv1.WatchResponse{Changes: []*registryv1.Change{attached()}, Position: position(11)})
	if p, _ := s.table.Progress(); p.Revision != 11 {
		t.Errorf("behind it: %+v", p)
	}
}

func TestWhatTheEndOfAnAttachmentMeans(t *testing.T) {
	t.Parallel()
	for reason, cut := range map[agentv1.CloseReason]bool{
		agentv1.CloseReason_CLOSE_REASON_REVOKED: true, agentv1.CloseReason_CLOSE_REASON_DELETED: true,
		agentv1.CloseReason_CLOSE_REASON_CLOSED: false, agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER: false,
		agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED: false,
	} {
		s, listener := newStepper(t)
		s.must(t, &registryv1.WatchResponse{Snapshot: true, Changes: []*registryv1.Change{claimed(1), attached()}, Position: position(1)})
		s.must(t, &registryv1.WatchResponse{Position: position(2), Changes: []*registryv1.Change{{
			Change: &registryv1.Change_AttachmentEnded{AttachmentEnded: &registryv1.AttachmentEnded{Attachment: theAttachment(), Reason: reason}},
		}}})
		if r := s.table.Lookup(host); r == nil || len(r.Attachments()) != 0 {
			t.Errorf("%v: route %+v", reason, r)
		}
		if got := slices.Contains(listener.calls, "cut a t"); got != cut {
			t.Errorf("%v: cut %v", reason, got)
		}
	}
}

func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	s, listener := newStepper(t)
	s.must(t, &registryv1.WatchResponse{Snapshot: true, Position: position(1)})
	gone := func(kind registryv1.NodeKind) *registryv1.Change {
		return &registryv1.Change{Change: &registryv1.Change_NodeRemoved{NodeRemoved: &registryv1.NodeRemoved{Kind: kind, Id: "c"}}}
	}
	frontdoor := connector()
	frontdoor.GetNode().Kind = registryv1.NodeKind_NODE_KIND_FRONTDOOR
	s.must(t, &registryv1.WatchResponse{Position: position(2), Changes: []*registryv1.Change{
		frontdoor, connector(), gone(registryv1.NodeKind_NODE_KIND_FRONTDOOR), gone(registryv1.NodeKind_NODE_KIND_CONNECTOR), {},
	}})
	if !slices.Equal(listener.calls, []string{"+c", "-c"}) {
		t.Errorf("heard %v", listener.calls)
	}
}

// The node table knows frontdoors too, with the addresses at which they are
// reached, and does not forget who has vanished.
func TestTheNodeTableIsKept(t *testing.T) {
	t.Parallel()
	s, _ := newStepper(t)
	frontdoor := func(state registryv1.NodeState) *registryv1.Change {
		return &registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
			Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, Id: "f", State: state,
			RelayAddress: "10.0.0.1:7445", AgentAddresses: []string{"f.example.com:443"},
		}}}
	}
	s.must(t, &registryv1.WatchResponse{Snapshot: true, Changes: []*registryv1.Change{frontdoor(registryv1.NodeState_NODE_STATE_READY), connector()}})
	if s.nodes.Frontdoor("f") != nil {
		t.Error("half a snapshot counts")
	}
	s.must(t, &registryv1.WatchResponse{Position: position(1)})
	f := s.nodes.Frontdoor("f")
	if f == nil || f.State != nodes.Ready || f.RelayAddress != "10.0.0.1:7445" || !slices.Equal(f.AgentAddresses, []string{"f.example.com:443"}) {
		t.Fatalf("frontdoor: %+v", f)
	}
	if s.nodes.Connector("c") == nil {
		t.Error("no connector")
	}
	s.must(t, &registryv1.WatchResponse{Position: position(2), Changes: []*registryv1.Change{frontdoor(registryv1.NodeState_NODE_STATE_DRAINING)}})
	if f := s.nodes.Frontdoor("f"); f == nil || f.State != nodes.Draining {
		t.Errorf("draining: %+v", f)
	}
	s.must(t, &registryv1.WatchResponse{Position: position(3), Changes: []*registryv1.Change{{
		Change: &registryv1.Change_NodeRemoved{NodeRemoved: &registryv1.NodeRemoved{Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, Id: "f"}},
	}}})
	if f := s.nodes.Frontdoor("f"); f == nil || f.VanishedAt.IsZero() {
		t.Errorf("vanished: %+v", f)
	}
}
