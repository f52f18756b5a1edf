package relay_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/clienthello"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/relay"
)

func TestTheNodeIsToldWhoTheAgentIsAndThroughWhom(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10, toFrontdoor)
	n := r.node(nodes.Frontdoor, "f2-abcd")
	agent, first := r.agent()
	c := n.arrival(t, first)
	if c.RemoteAddr().String() != agent.LocalAddr().String() || c.Via() != "f1-abcd" {
		t.Errorf("from %v via %q, want %v via f1-abcd", c.RemoteAddr(), c.Via(), agent.LocalAddr())
	}
}

// Megabytes both ways at once arrive as they were, and the ends of the directions
// are passed on one by one.
func TestBytesAndHalfCloses(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10, toFrontdoor)
	n := r.node(nodes.Frontdoor, "f2-abcd")
	agent, first := r.agent()
	c := n.arrival(t, first)
	const size = 8 << 20
	up, down := make([]byte, size), make([]byte, size)
	_, _ = rand.Read(up)
	_, _ = rand.Read(down)
	sent := make(chan error, 2)
	go func() {
		_, err := agent.Write(up)
		sent <- errors.Join(err, agent.CloseWrite())
	}()
	got, err := io.ReadAll(c) // to the half-close
	if err != nil || sha256.Sum256(got) != sha256.Sum256(up) {
		t.Fatalf("to the node: %d bytes, %v", len(got), err)
	}
	go func() { // the other direction lives on
		_, err := c.Write(down)
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, err = io.ReadAll(agent)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(down) {
		t.Fatalf("to the agent: %d bytes, %v", len(got), err)
	}
	for range 2 {
		fatal(t, <-sent)
	}
	r.quiet()
	if moved := r.relays.Bytes(); moved != 2*size {
		t.Errorf("%d bytes counted, want %d", moved, 2*size)
	}
}

// A reset says that what was received is not all there was: it must not arrive as
// an orderly end, from either side.
func TestAResetIsPassedOnAsAReset(t *testing.T) {
	t.Parallel()
	for _, ofAgent := range []bool{true, false} {
		r := newRig(t, 10, toFrontdoor)
		n := r.node(nodes.Frontdoor, "f2-abcd")
		agent, first := r.agent()
		c := n.arrival(t, first)
		from, to := agent, c.TCP()
		if !ofAgent {
			from, to = c.TCP(), agent
		}
		_, err := from.Write([]byte("half"))
		fatal(t, err)
		_, err = io.ReadFull(to, make([]byte, 4))
		fatal(t, err)
		fatal(t, from.SetLinger(0))
		fatal(t, from.Close())
		if _, err := to.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a reset of the agent's (%v) arrived as %v", ofAgent, err)
		}
		r.quiet()
	}
}

func TestWhatIsNotHandedOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, toFrontdoor)
	answer := func() (string, error) {
		agent, _ := r.agent()
		b, err := io.ReadAll(agent)
		return string(b), err
	}
	const unrecognizedName = "\x15\x03\x03\x00\x02\x02\x70"
	if b, err := answer(); b != unrecognizedName || err != nil {
		t.Errorf("a node that nobody knows: %q, %v", b, err)
	}
	r.table.Put(nodes.Node{Kind: nodes.Frontdoor, ID: "f2-abcd", State: nodes.Ready})
	if b, err := answer(); b != unrecognizedName || err != nil {
		t.Errorf("a node without an address: %q, %v", b, err)
	}
	n := r.node(nodes.Frontdoor, "f2-abcd")
	_, first := r.agent()
	c := n.arrival(t, first)
	if b, err := answer(); b != "" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("one above the limit: %q, %v", b, err)
	}
	_ = c.SetLinger(0)
	_ = c.Close()
	r.quiet()
	_ = n.Close()
	r.table.Vanish(nodes.Frontdoor, "f2-abcd")
	if b, err := answer(); b != "" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a node that does not listen: %q, %v", b, err)
	}
	testkit.Eventually(t, limit, func() bool { return r.table.Frontdoor("f2-abcd") == nil },
		"one that vanished and cannot be connected is forgotten")
	want := []string{relay.UnknownName, relay.UnknownName, relay.Limit, relay.Unreachable}
	if got := r.whys(); !slices.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// An agent that wants any connector gets one that can be connected, a ready one
// before others; one that wants a particular one gets that or none.
func TestAnyConnectorAndAParticularOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10, toAnyConnector)
	good, dead := r.node(nodes.Connector, "c1-abcd"), r.node(nodes.Connector, "c2-abcd")
	_ = dead.Close()
	draining := r.node(nodes.Connector, "c3-abcd")
	r.table.Put(nodes.Node{Kind: nodes.Connector, ID: "c3-abcd", State: nodes.Draining, RelayAddress: draining.Addr().String()})
	for range 10 { // the dead one is often the first
		agent, first := r.agent()
		c := good.arrival(t, first)
		_ = c.Close()
		_ = agent.Close()
	}
	if len(draining.conns) > 0 {
		t.Error("a draining connector got an agent that another one would take")
	}
	p := newRig(t, 10, func(r *relay.Relays, c *clienthello.Replayed) { r.ToConnector(c, "c2-abcd") })
	p.table.Put(nodes.Node{Kind: nodes.Connector, ID: "c1-abcd", State: nodes.Ready, RelayAddress: good.Addr().String()})
	p.table.Put(nodes.Node{Kind: nodes.Connector, ID: "c2-abcd", State: nodes.Ready, RelayAddress: dead.Addr().String()})
	agent, _ := p.agent()
	if _, err := agent.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("another connector in place of the one that was wanted: %v", err)
	}
}

// A stop lets relayed connections finish, for as long as there is time.
func TestADrainWaitsAndThenCuts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10, toFrontdoor)
	n := r.node(nodes.Frontdoor, "f2-abcd")
	finishing, first := r.agent()
	c1 := n.arrival(t, first)
	endless, first := r.agent()
	n.arrival(t, first)
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() { drained <- r.relays.Drain(ctx) }()
	_, err := c1.Write([]byte("the rest"))
	fatal(t, err)
	fatal(t, c1.CloseWrite())
	if b, err := io.ReadAll(finishing); string(b) != "the rest" || err != nil {
		t.Errorf("while it drains: %q, %v", b, err)
	}
	fatal(t, finishing.CloseWrite())
	testkit.Eventually(t, limit, func() bool { return r.relays.Open() == 1 }, "one has finished")
	select {
	case err := <-drained:
		t.Fatalf("drained with a connection under way: %v", err)
	default:
	}
	cancel()
	fatal(t, <-drained)
	if _, err := endless.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("at the deadline: %v", err)
	}
	late, _ := r.agent()
	if _, err := late.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("behind the deadline: %v", err)
	}
}

func TestWhoMayHandOver(t *testing.T) {
	t.Parallel()
	table := nodes.NewTable(time.Now)
	peers := relay.NewPeers(table, nil, testkit.Logger(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- peers.Run(ctx) }()
	has := func(ip string) bool { return peers.Contain(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}) }
	if has("127.0.0.1") {
		t.Error("believed before there is a node")
	}
	table.Replace([]nodes.Node{
		{Kind: nodes.Frontdoor, ID: "a", RelayAddress: "127.0.0.2:7445"},
		{Kind: nodes.Frontdoor, ID: "b", RelayAddress: "localhost:7445"},
		{Kind: nodes.Frontdoor, ID: "c", RelayAddress: "nowhere"},
		{Kind: nodes.Connector, ID: "d", RelayAddress: "127.0.0.3:7445"},
	})
	testkit.Eventually(t, limit, func() bool { return has("127.0.0.2") && has("127.0.0.1") }, "an address, and a name's")
	if has("127.0.0.3") || has("127.0.0.4") {
		t.Error("believed though it is no frontdoor")
	}
	table.Put(nodes.Node{Kind: nodes.Frontdoor, ID: "a", RelayAddress: "127.0.0.5:7445"})
	testkit.Eventually(t, limit, func() bool { return !has("127.0.0.2") && has("127.0.0.5") }, "one that moved")
	cancel()
	fatal(t, <-done)
}
