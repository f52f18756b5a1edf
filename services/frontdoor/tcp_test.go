package frontdoor_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// tcpPort is everybody's: each world has a loopback address of its own.
const (
	tcpPort = "20001"
	tcpName = "tcp:" + tcpPort
)

// tcpWorld is a frontdoor with a TCP endpoint that leads to the local address.
type tcpWorld struct {
	*world
	agent   *fakeAgent
	address string
}

func newTCPWorld(t *testing.T, upstream string, config func(*frontdoor.Config)) *tcpWorld {
	t.Helper()
	var b [3]byte
	_, _ = rand.Read(b[:])
	host := fmt.Sprintf("127.%d.%d.%d", b[0]|1, b[1], b[2]|1)
	w := &tcpWorld{address: host + ":" + tcpPort, world: newWorld(t, worldOptions{config: func(c *frontdoor.Config) {
		c.TCPHost = host
		if config != nil {
			config(c)
		}
	}})}
	c := w.connector("c1")
	w.agent = w.world.agent(upstream)
	w.attach(c, w.agent, "")
	return w
}

// open makes the endpoint and waits until its port is there.
func (w *tcpWorld) open() *tcpWorld {
	w.t.Helper()
	w.registry.put(tcpClaim(w.agent), attachChange(tcpName, "c1", "session-"+w.agent.id))
	testkit.Eventually(w.t, limit, func() bool { return w.listens() }, "the port is open")
	return w
}

func tcpClaim(a *fakeAgent) *registryv1.Change {
	change := claimChange(a, tcpName, nil)
	change.GetClaim().Protocol, change.GetClaim().Port = proxyv1.Protocol_PROTOCOL_TCP, 20001
	return change
}

func (a *fakeAgent) seenStarts() []*proxyv1.Start {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.starts)
}

// listens tells by binding: a connection would be a visitor.
func (w *tcpWorld) listens() bool {
	l, err := net.Listen("tcp", w.address)
	if err != nil {
		return true
	}
	_ = l.Close()
	return false
}

func (w *tcpWorld) visit() *net.TCPConn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.address)
	fatal(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	return c.(*net.TCPConn)
}

// turnedAway is a visitor who is cut off without a word. The reset may come before
// its dial has returned.
func (w *tcpWorld) turnedAway() {
	w.t.Helper()
	c, err := net.Dial("tcp", w.address)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	fatal(w.t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	hearReset(w.t, c.(*net.TCPConn))
}

// service is a local one: each connection is f's.
func tcpService(t *testing.T, f func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

// parrot repeats everything once it has heard the end of it.
func parrot(c *net.TCPConn) {
	defer c.Close()
	all, _ := io.ReadAll(c)
	_, _ = c.Write(all)
}

func say(t *testing.T, c *net.TCPConn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

func hearReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if got, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("heard %d bytes and %v, want a reset", len(got), err)
	}
}

// The visitor ends its direction first, and gets all of the answer; then the
// agent's connection serves the next one.
func TestAVisitorOfAPortReachesItsService(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, parrot), nil).open()
	for i := range 3 {
		c := w.visit()
		text := strings.Repeat(fmt.Sprintf("visitor %d ", i), 20_000)
		say(t, c, text)
		fatal(t, c.CloseWrite())
		if got, err := io.ReadAll(c); err != nil || string(got) != text {
			t.Fatalf("visitor %d: %d bytes, %v", i, len(got), err)
		}
		start := w.agent.seenStarts()[i]
		if start.GetProtocol() != proxyv1.Protocol_PROTOCOL_TCP || start.GetUrl() != "tcp://"+domain+":"+tcpPort ||
			start.GetClientAddress() != c.LocalAddr().String() || start.GetTunnelId() != "tunnel-"+tcpName {
			t.Errorf("START: %v", start)
		}
	}
	if starts := w.agent.seenStarts(); starts[2].GetExchange() == 1 {
		t.Error("each visitor has cost a connection of the agent")
	}
}

// SSH and SMTP: the service speaks before the visitor has said a word.
func TestAServiceThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "SSH-2.0-test\r\n")
		parrot(c)
	}), nil).open()
	c := w.visit()
	hear(t, c, "SSH-2.0-test\r\n")
	say(t, c, "SSH-2.0-visitor\r\n")
	fatal(t, c.CloseWrite())
	hear(t, c, "SSH-2.0-visitor\r\n")
}

// The service ends its direction first, and goes on listening.
func TestAServiceThatEndsItsDirectionFirst(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 1)
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		defer c.Close()
		_, _ = io.WriteString(c, "all I have to say")
		_ = c.CloseWrite()
		rest, _ := io.ReadAll(c)
		heard <- string(rest)
	}), nil).open()
	c := w.visit()
	if got, err := io.ReadAll(c); err != nil || string(got) != "all I have to say" {
		t.Fatalf("%q, %v", got, err)
	}
	say(t, c, "but I")
	say(t, c, " have more")
	fatal(t, c.CloseWrite())
	if got := <-heard; got != "but I have more" {
		t.Errorf("the service heard %q", got)
	}
}

// A reset is a reset on the other side as well: an end in order would be taken for
// the whole of it.
func TestAResetIsPassedOn(t *testing.T) {
	t.Parallel()
	heard := make(chan error, 1)
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "half")
		line := make([]byte, 1)
		if _, err := io.ReadFull(c, line); err != nil || line[0] == 'r' {
			_ = c.SetLinger(0)
			_ = c.Close()
			return
		}
		_, err := io.ReadAll(c)
		heard <- err
		_ = c.Close()
	}), nil).open()
	c := w.visit()
	hear(t, c, "half")
	say(t, c, "r")
	hearReset(t, c)

	c = w.visit()
	hear(t, c, "half")
	say(t, c, "x")
	fatal(t, c.SetLinger(0))
	fatal(t, c.Close())
	if err := <-heard; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the service heard %v, want a reset", err)
	}
}

func TestAServiceThatIsDownIsAReset(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, "", nil).open()
	for range 3 {
		w.turnedAway()
	}
	if n := w.agent.dialled(); n > 2 {
		t.Errorf("three refusals have cost %d dial-backs", n)
	}
	// And when it is up, it is served.
	w.agent.forwardTo(tcpService(t, parrot))
	c := w.visit()
	say(t, c, "there")
	fatal(t, c.CloseWrite())
	hear(t, c, "there")
}

// The visitor who does not read holds up nobody, and nothing of it is kept here.
func TestASlowReaderBesideAFastOne(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	block := make([]byte, 64<<10)
	_, _ = rand.Read(block)
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		defer c.Close()
		for range size / len(block) {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}), nil).open()
	slow, fast := w.visit(), w.visit()
	hear(t, slow, string(block[:10]))
	if err := compare(fast, block, size); err != nil {
		t.Error("fast: ", err)
	}
	if err := compare(io.MultiReader(bytes.NewReader(block[:10]), slow), block, size); err != nil {
		t.Error("slow: ", err)
	}
}

func compare(r io.Reader, block []byte, size int) error {
	got := make([]byte, len(block))
	for at := 0; at < size; at += len(block) {
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, block) {
			return fmt.Errorf("at %d: not what was sent: %w", at, err)
		}
	}
	if n, err := io.Copy(io.Discard, r); n > 0 || err != nil {
		return fmt.Errorf("behind the end: %d bytes, %w", n, err)
	}
	return nil
}

// A revocation ends what is under way, even where the visitor does not read and
// nobody would notice.
func TestARevocationCutsVisitorsOff(t *testing.T) {
	t.Parallel()
	var poured atomic.Int64
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		defer c.Close()
		block := make([]byte, 1<<20)
		if _, err := io.ReadFull(c, block[:1]); err != nil || block[0] == 'i' {
			_, _ = io.WriteString(c, "idle")
			_, _ = io.Copy(io.Discard, c)
			return
		}
		for {
			n, err := c.Write(block[:4096])
			if poured.Add(int64(n)); err != nil {
				return
			}
		}
	}), nil).open()
	idle, deaf := w.visit(), w.visit()
	say(t, idle, "i")
	say(t, deaf, "d")
	hear(t, idle, "idle")
	before, since := int64(0), time.Now()
	testkit.Eventually(t, limit, func() bool {
		if now := poured.Load(); now != before {
			before, since = now, time.Now()
		}
		return before > 0 && time.Since(since) > 500*time.Millisecond
	}, "all is full up to the service")
	began := time.Now()
	w.connectors["c1"].end(w.agent, "session-"+w.agent.id, agentv1.CloseReason_CLOSE_REASON_REVOKED)
	hearReset(t, idle)
	testkit.Eventually(t, limit, func() bool {
		_, err := deaf.Write([]byte("x"))
		return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}, "the visitor who does not read is cut off")
	t.Logf("cut off after %v", time.Since(began))
}

func TestAnAgentThatDiesIsAReset(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello")
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}), nil).open()
	c := w.visit()
	hear(t, c, "hello")
	w.agent.mu.Lock()
	for client := range w.agent.clients {
		_ = client.Close()
	}
	w.agent.mu.Unlock()
	hearReset(t, c)
}

// A process that is killed closes its connections in order, and says nothing: that
// is no end of the service's words.
func TestAnAgentThatIsKilledIsAReset(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, "", nil)
	w.agent.mu.Lock()
	w.agent.byHand = func(c net.Conn) {
		if _, err := nextFrame(c); err != nil {
			return
		}
		for kind, m := range []proto.Message{
			proxyv1.FrameType_FRAME_TYPE_ACK:  &proxyv1.Ack{Exchange: 1},
			proxyv1.FrameType_FRAME_TYPE_RESP: &proxyv1.Resp{Exchange: 1, Code: proxyv1.Code_CODE_OK},
		} {
			if m != nil {
				payload, _ := proto.Marshal(m)
				_, _ = c.Write(append([]byte{byte(kind), 0, 0, byte(len(payload))}, payload...))
			}
		}
		_, _ = c.Write([]byte("\x01\x00\x00\x04half"))
		_ = c.(*tls.Conn).NetConn().Close()
	}
	w.agent.mu.Unlock()
	w.open()
	c := w.visit()
	hear(t, c, "half")
	hearReset(t, c)
}

// The ports follow the claims: a port without an agent is held, one without a
// claim is closed, and whoever is here may finish.
func TestPortsFollowTheClaims(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, parrot), nil)
	if w.listens() {
		t.Fatal("a port without a claim is open")
	}
	w.registry.put(tcpClaim(w.agent)) // its agent is away for a moment
	testkit.Eventually(t, limit, w.listens, "the port is held")
	c := w.visit()
	say(t, c, "patience")
	w.registry.put(attachChange(tcpName, "c1", "session-"+w.agent.id))
	testkit.Eventually(t, limit, func() bool { return len(w.agent.seenStarts()) == 1 }, "the held visitor is served")
	w.registry.put(&registryv1.Change{Change: &registryv1.Change_ClaimRemoved{ClaimRemoved: tcpName}})
	testkit.Eventually(t, limit, func() bool {
		_, err := net.Dial("tcp", w.address)
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "the port is closed")
	fatal(t, c.CloseWrite())
	hear(t, c, "patience")
}

// A parked port is its agent's, but nobody is there.
func TestAParkedPortIsClosed(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, parrot), nil).open()
	parked := tcpClaim(w.agent)
	parked.GetClaim().State = registryv1.ClaimState_CLAIM_STATE_PARKED
	w.registry.put(parked)
	testkit.Eventually(t, limit, func() bool {
		_, err := net.Dial("tcp", w.address)
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "the port is closed")
}

// A port that somebody else on this machine has is reported, and tried again.
func TestAPortThatCannotBeListenedOnIsReported(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, parrot), nil)
	squatter, err := net.Listen("tcp", w.address)
	fatal(t, err)
	w.registry.put(tcpClaim(w.agent), attachChange(tcpName, "c1", "session-"+w.agent.id))
	reported := func() []*registryv1.PortProblem {
		w.registry.mu.Lock()
		defer w.registry.mu.Unlock()
		return w.registry.problems
	}
	testkit.Eventually(t, limit, func() bool { return len(reported()) == 1 }, "the problem is reported")
	if p := reported()[0]; p.GetPort() != 20001 || !strings.Contains(p.GetProblem(), "address already in use") {
		t.Errorf("reported: %v", p)
	}
	fatal(t, squatter.Close())
	testkit.Eventually(t, limit, func() bool { return len(reported()) == 0 }, "it is no problem any more")
	c := w.visit()
	say(t, c, "mine")
	fatal(t, c.CloseWrite())
	hear(t, c, "mine")
}

// Visitors above the bound are refused, and there is room again when one leaves.
func TestBoundsOfAPort(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "in")
		parrot(c)
	}), func(c *frontdoor.Config) { c.MaxRequestsEndpoint = 1 }).open()
	first := w.visit()
	hear(t, first, "in")
	w.turnedAway()
	fatal(t, first.CloseWrite())
	testkit.Eventually(t, limit, func() bool {
		c, err := net.Dial("tcp", w.address)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(limit))
		_, err = io.ReadFull(c, make([]byte, 2))
		return err == nil
	}, "there is room again")
}

// A connection of the agent that dies before it has answered: another one serves
// the visitor if nothing of it was sent; what was sent may have arrived, and is not
// sent twice.
func TestAVisitIsTriedAgainOnlyWhileNothingWasSent(t *testing.T) {
	t.Parallel()
	for _, speaks := range []bool{false, true} {
		t.Run(fmt.Sprintf("the visitor speaks first: %v", speaks), func(t *testing.T) {
			t.Parallel()
			visits := make(chan struct{}, 9)
			w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
				visits <- struct{}{}
				_, _ = io.WriteString(c, "served")
				parrot(c)
			}), nil)
			visitor := make(chan struct{})
			w.agent.mu.Lock()
			w.agent.byHand = func(c net.Conn) {
				<-visitor                                // has said what it has to say
				_, _ = io.ReadFull(c, make([]byte, 100)) // START, and what comes behind it
				_ = c.Close()
			}
			w.agent.mu.Unlock()
			w.open()
			c := w.visit()
			if speaks {
				say(t, c, strings.Repeat("x", 1000))
			}
			close(visitor)
			if !speaks {
				hear(t, c, "served")
				return
			}
			hearReset(t, c)
			if len(visits) > 0 {
				t.Error("it was tried again")
			}
		})
	}
}

// A stop lets visitors finish, and cuts off in time who does not.
func TestAStopWaitsForVisitorsOfPorts(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "in")
		parrot(c)
	}), func(c *frontdoor.Config) { c.DrainTimeout = 4 * time.Second }).open()
	finishes, stays := w.visit(), w.visit()
	hear(t, finishes, "in")
	hear(t, stays, "in")
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	testkit.Eventually(t, limit, func() bool {
		_, err := net.Dial("tcp", w.address)
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "nobody new is taken")
	say(t, finishes, "bye")
	fatal(t, finishes.CloseWrite())
	if got, err := io.ReadAll(finishes); err != nil || string(got) != "bye" {
		t.Errorf("the visitor who finishes: %q, %v", got, err)
	}
	hearReset(t, stays)
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
	if len(w.registry.gone) != 1 {
		t.Error("the frontdoor has not left the node table")
	}
}
