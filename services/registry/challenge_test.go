package registry_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

// answers is a connector's part in a challenge.
type answers struct {
	connectorv1.UnimplementedChallengeServiceServer
	instance string // of the process that is there
	asked    atomic.Int64
}

func (a *answers) Challenge(_ context.Context, req *connectorv1.ChallengeRequest) (*connectorv1.ChallengeResponse, error) {
	a.asked.Add(1)
	return &connectorv1.ChallengeResponse{Answered: string(req.GetInstance()) == a.instance}, nil
}

// answer has the node answer challenges for one process.
func (n *node) answer(instance []byte) *answers {
	n.d.t.Helper()
	a := &answers{instance: string(instance)}
	server := rpc.NewServer(rpc.ServerConfig{
		TLS:     tlsconf.ServiceServer(n.d.cert(tlsconf.RoleConnector, n.name), n.d.ca.Pool()),
		Methods: rpc.Methods{Internal: map[string][]string{connectorv1.ChallengeService_Challenge_FullMethodName: {tlsconf.RoleRegistry}}},
		Logger:  testkit.Logger(n.d.t),
	})
	connectorv1.RegisterChallengeServiceServer(server, a)
	mem, done := rpc.NewMemory(), make(chan struct{})
	go func() { defer close(done); _ = server.Serve(mem) }()
	n.d.t.Cleanup(func() { server.Stop(); <-done })
	n.d.answering.Store(n.id, mem)
	return a
}

func TestAReplacedMachineGetsItsName(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start()
	held, rival := r.connector("c1"), r.connector("c2")
	held.keepBeating()
	rival.keepBeating()
	ghost, pod := newAgent("acme"), newAgent("acme")
	before := held.bind(ghost, "s1", newTunnel(), "app.example.com")
	held.reattach(true)

	if _, err := rival.tryBind(pod, "s2", newTunnel(), "app.example.com"); !errors.Is(err, errInUse) {
		t.Errorf("the holder's connector cannot be asked: %v", err)
	}
	held.answer(ghost.instance)
	if _, err := rival.tryBind(pod, "s2", newTunnel(), "app.example.com"); !errors.Is(err, errInUse) {
		t.Errorf("the holder is there: %v", err)
	}
	asked := held.answer(nil) // half-open: it does not answer
	after := rival.bind(pod, "s2", newTunnel(), "app.example.com")
	if after.resp.GetGeneration() <= before.resp.GetGeneration() || asked.asked.Load() != 1 {
		t.Errorf("generation %d after %d, asked %d times", after.resp.GetGeneration(), before.resp.GetGeneration(), asked.asked.Load())
	}
	if lost := held.reattach(true, before.attachment(held)); len(lost) != 1 {
		t.Errorf("the ghost's attachment is accepted again: %v", lost)
	}
}

// The session has ended, its name waits for it: nothing is there to be asked but
// the connector that it was on, in case that it comes back there.
func TestANameThatWaitsForItsAgentGoesToAnotherOfTheAccount(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start()
	held, rival := r.connector("c1"), r.connector("c2")
	held.keepBeating()
	rival.keepBeating()
	ghost, pod := newAgent("acme"), newAgent("acme")
	held.bind(ghost, "s1", newTunnel(), "app.example.com")
	held.reattach(true)
	if err := held.endSession("s1"); err != nil {
		t.Fatal(err)
	}
	asked := held.answer(ghost.instance)
	if _, err := rival.tryBind(pod, "s2", newTunnel(), "app.example.com"); !errors.Is(err, errInUse) || asked.asked.Load() == 0 {
		t.Errorf("it has a session there, whose attachment is on its way: %v", err)
	}
	held.answer(nil)
	rival.bind(pod, "s2", newTunnel(), "app.example.com")
}

// Every registry was away until all leases had run out. A connector that is well
// has not registered anew yet: its silence is nobody's death.
func TestAHolderIsNotTakenForDeadBehindAnOutage(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(shortLease)
	held := r.connector("c1")
	ghost, pod := newAgent("acme"), newAgent("acme")
	name := held.bind(ghost, "s1", newTunnel(), "app.example.com")
	r.stop()
	held.gone()

	r = d.start(shortLease)
	rival := r.connector("c2")
	rival.keepBeating()
	if _, err := rival.tryBind(pod, "s2", newTunnel(), "app.example.com"); !errors.Is(err, errInUse) {
		t.Fatalf("the rival, first in the new time, is told %v", err)
	}
	back := held.through(r, tlsconf.RoleConnector)
	back.register()
	back.keepBeating()
	back.answer(ghost.instance)
	if lost := back.reattach(true, name.attachment(back)); len(lost) > 0 {
		t.Errorf("the owner lost %v", lost)
	}
	if _, err := rival.tryBind(pod, "s2", newTunnel(), "app.example.com"); !errors.Is(err, errInUse) {
		t.Errorf("the rival is told %v", err)
	}
}

// A connector that has died with its agents is in the table no more: there is
// nobody to ask.
func TestADeadConnectorsNamesAreFreeForTheAccount(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(shortLease)
	held, rival := r.connector("c1"), r.connector("c2")
	rival.keepBeating()
	held.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	pod, tunnel := newAgent("acme"), newTunnel()
	testkit.Eventually(t, limit, func() bool {
		_, err := rival.tryBind(pod, "s2", tunnel, "app.example.com")
		if err != nil && !errors.Is(err, errInUse) {
			t.Fatal(err)
		}
		return err == nil
	}, "the name of a dead connector's agent")
}

// gone waits until the node's lease has run out.
func (n *node) gone() {
	n.d.t.Helper()
	testkit.Eventually(n.d.t, limit, func() bool {
		resp, err := n.d.etcd.Leases(n.ctx())
		if err != nil {
			n.d.t.Fatal(err)
		}
		for _, lease := range resp.Leases {
			if int64(lease.ID) == n.registration {
				return false
			}
		}
		return true
	}, "the end of the lease")
}
