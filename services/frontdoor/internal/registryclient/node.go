package registryclient

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
)

const (
	nodeCallTimeout = 5 * time.Second
	// What the registry takes of problems with ports: so many, of so many bytes.
	maxProblems, maxProblem = 64, 200
)

var errNodeUnknown = errs.New(errs.NotFound, errs.ReasonNodeUnknown, "")

// Entry is what the node table says of a frontdoor.
type Entry struct {
	ID             string
	Address        string   // where other frontdoors ask this one; empty: nowhere
	AgentAddresses []string // best first
	RelayAddress   string
	Version        string
	Capabilities   []string // names of critical options that it knows
}

// Node keeps this frontdoor's entry in the node table.
type Node struct {
	client registryv1.NodeServiceClient
	log    *slog.Logger
	kick   chan struct{} // a heartbeat is wanted now
	// stay ends with Leave, gone is closed when nothing renews the entry any more.
	stay  context.Context
	leave context.CancelFunc
	gone  chan struct{}
	// asked is closed when an operator wants this frontdoor to drain.
	asked     chan struct{}
	askedOnce sync.Once

	mu           sync.Mutex
	record       *registryv1.Node
	registration int64 // 0: not registered
}

// NewNode returns an entry that Run enters and renews.
func NewNode(conn grpc.ClientConnInterface, e Entry, log *slog.Logger) *Node {
	stay, leave := context.WithCancel(context.Background())
	return &Node{
		client: registryv1.NewNodeServiceClient(conn), log: log, kick: make(chan struct{}, 1),
		stay: stay, leave: leave, gone: make(chan struct{}), asked: make(chan struct{}),
		record: &registryv1.Node{
			Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, State: registryv1.NodeState_NODE_STATE_READY,
			Id: e.ID, Address: e.Address, AgentAddresses: e.AgentAddresses, RelayAddress: e.RelayAddress, Version: e.Version, Capabilities: e.Capabilities,
		},
	}
}

// Run registers and renews until ctx ends or the entry leaves. A registry that is away is asked
// again and again: visitors are served meanwhile.
func (n *Node) Run(ctx context.Context) error {
	n.renew(ctx)
	close(n.gone)
	<-ctx.Done()
	return nil
}

func (n *Node) renew(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(n.stay, stop)()
	wait := retryFirst
	for {
		ttl, err := n.beat(ctx)
		if ctx.Err() != nil {
			return
		}
		next := ttl / 3
		if err != nil {
			n.log.Warn("the registry does not hear of this frontdoor", "error", err)
			next, wait = wait, min(2*wait, retryLast)
		} else {
			wait = retryFirst
		}
		timer := time.NewTimer(max(next, retryFirst))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-n.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// beat sends a heartbeat, or registers if there is nothing to renew.
func (n *Node) beat(ctx context.Context) (ttl time.Duration, err error) {
	record, registration := n.current()
	if registration != 0 {
		call, cancel := context.WithTimeout(ctx, nodeCallTimeout)
		defer cancel()
		answer, err := n.client.Heartbeat(call, &registryv1.HeartbeatRequest{
			NodeId: record.GetId(), Registration: registration, State: record.GetState(), PortProblems: record.GetPortProblems(),
		})
		if answer.GetDrain() {
			n.askedOnce.Do(func() { close(n.asked) })
		}
		if !errors.Is(err, errNodeUnknown) {
			return answer.GetLeaseTtl().AsDuration(), err
		}
		n.log.Warn("the registry has forgotten this frontdoor; registering again")
	}
	// It is not cut short: an entry whose answer nobody has heard could not be removed.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeCallTimeout)
	defer cancel()
	answer, err := n.client.RegisterNode(call, &registryv1.RegisterNodeRequest{Node: record})
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	n.registration = answer.GetRegistration()
	n.mu.Unlock()
	return answer.GetLeaseTtl().AsDuration(), nil
}

func (n *Node) current() (*registryv1.Node, int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return proto.CloneOf(n.record), n.registration
}

// DrainAsked is closed when an operator wants this frontdoor to drain.
func (n *Node) DrainAsked() <-chan struct{} { return n.asked }

// SetPortProblems says at once, and from now on, which ports this frontdoor cannot
// listen on, and why: the lowest ones, if there are more than the registry takes.
func (n *Node) SetPortProblems(problems map[uint16]string) {
	var list []*registryv1.PortProblem
	for _, port := range slices.Sorted(maps.Keys(problems)) {
		if len(list) == maxProblems {
			break
		}
		text := problems[port]
		list = append(list, &registryv1.PortProblem{Port: uint32(port), Problem: text[:min(len(text), maxProblem)]})
	}
	n.mu.Lock()
	n.record.PortProblems = list
	n.mu.Unlock()
	n.hurry()
}

// Drain says at once, and from now on, that nothing new is wanted here.
func (n *Node) Drain() {
	n.mu.Lock()
	n.record.State = registryv1.NodeState_NODE_STATE_DRAINING
	n.mu.Unlock()
	n.hurry()
}

// hurry has the next heartbeat sent now.
func (n *Node) hurry() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Leave takes the entry out of the table. Run, which must have been started,
// renews it no more: a heartbeat behind the removal would find it unknown and
// register it again, for nobody.
func (n *Node) Leave(ctx context.Context) error {
	n.leave()
	select {
	case <-n.gone:
	case <-ctx.Done():
	}
	record, registration := n.current()
	if registration == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodeCallTimeout)
	defer cancel()
	_, err := n.client.DeregisterNode(ctx, &registryv1.DeregisterNodeRequest{NodeId: record.GetId(), Registration: registration})
	return err
}
