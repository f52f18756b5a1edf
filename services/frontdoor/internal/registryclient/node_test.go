package registryclient_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor/internal/registryclient"
)

const leaseTTL = 9 * time.Second

// nodeTable is a registry's table of one node. Each call takes a while.
type nodeTable struct {
	takes time.Duration

	mu           sync.Mutex
	given        int64
	registration int64 // 0: the node is not there
	wanted       registryv1.NodeState
	said         registryv1.NodeState
}

func (n *nodeTable) Invoke(ctx context.Context, _ string, request, reply any, _ ...grpc.CallOption) error {
	if err := n.answer(request, reply); err != nil {
		return err
	}
	select {
	case <-time.After(n.takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *nodeTable) answer(request, reply any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch request := request.(type) {
	case *registryv1.RegisterNodeRequest:
		n.given++
		n.registration = n.given
		answer := reply.(*registryv1.RegisterNodeResponse)
		answer.Registration, answer.LeaseTtl = n.registration, durationpb.New(leaseTTL)
	case *registryv1.HeartbeatRequest:
		answer := reply.(*registryv1.HeartbeatResponse)
		answer.LeaseTtl, answer.Drain = durationpb.New(leaseTTL), n.wanted == registryv1.NodeState_NODE_STATE_DRAINING
		n.said = request.GetState()
		if request.GetRegistration() != n.registration {
			return errs.New(errs.NotFound, errs.ReasonNodeUnknown, "register again")
		}
	case *registryv1.DeregisterNodeRequest:
		if request.GetRegistration() == n.registration {
			n.registration = 0
		}
	}
	return nil
}

// NewStream is not used.
func (n *nodeTable) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("no streams here")
}

func (n *nodeTable) there() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.registration != 0
}

// The node hears of an operator's wish with a heartbeat; what it does then it says
// with one.
func TestANodeHearsThatItIsToDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table := &nodeTable{}
		n := registryclient.NewNode(table, registryclient.Entry{ID: "f1-abcd"}, testkit.Logger(t))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- n.Run(ctx) }()
		<-time.After(3 * leaseTTL)
		select {
		case <-n.DrainAsked():
			t.Error("nobody has asked")
		default:
		}
		table.mu.Lock()
		table.wanted = registryv1.NodeState_NODE_STATE_DRAINING
		table.mu.Unlock()
		<-n.DrainAsked()
		n.Drain()
		<-time.After(2 * leaseTTL) // asked again each time
		table.mu.Lock()
		if table.said != registryv1.NodeState_NODE_STATE_DRAINING {
			t.Errorf("the node says that it is %v", table.said)
		}
		table.mu.Unlock()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// At whatever moment of its life a node leaves, it does not come back, and its
// loop goes on until the process ends.
func TestANodeThatHasLeftStaysAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ takes, leaves time.Duration }{
		"between two heartbeats":  {takes: 0, leaves: time.Second},
		"during a heartbeat":      {takes: time.Second, leaves: 1500*time.Millisecond + leaseTTL/3},
		"during the registration": {takes: time.Second, leaves: time.Second / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := &nodeTable{takes: c.takes}
				client := registryclient.NewNode(registry, registryclient.Entry{ID: "f1-x"}, testkit.Logger(t))
				run, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- client.Run(run) }()
				time.Sleep(c.leaves) //nolint:forbidigo // moves synctest's clock
				client.Drain()
				leave, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := client.Leave(leave); err != nil {
					t.Errorf("Leave: %v", err)
				}
				if registry.there() {
					t.Error("the node is in the table when it has left")
				}
				time.Sleep(10 * leaseTTL) //nolint:forbidigo // moves synctest's clock
				if registry.there() {
					t.Error("the node came back")
				}
				stop()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}
