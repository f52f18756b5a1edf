package relay_test

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/relay"
)

// A relayed connection that is idle is two files: no pipe is held while no byte
// moves, neither by one whose ends say nothing nor by one whose end does not read.
// Without that a thousand idle agents would be six thousand files.
func TestAnIdleRelayIsTwoFiles(t *testing.T) { // alone: it counts files
	if runtime.GOOS != "linux" {
		t.Log("elsewhere bytes move without pipes")
		return
	}
	const relays = 16
	r := newRig(t, relays, toFrontdoor)
	n := r.node(nodes.Frontdoor, "f2-abcd")
	before := files(t)
	agents, arrived := make([]*net.TCPConn, relays), make([]*proxyheader.Conn, relays)
	for i := range agents {
		agent, first := r.agent()
		c := n.arrival(t, first)
		agents[i], arrived[i] = agent, c
		for range 3 {
			exchange(t, agent, c.TCP())
			exchange(t, c.TCP(), agent)
		}
	}
	// The ends are in this process too: four sockets each.
	idle := func() bool {
		runtime.GC() // pipes that nobody uses are net's to close
		return files(t) == before+4*relays
	}
	testkit.Eventually(t, limit, idle, "two files for each end and two for each relay")

	var full sync.WaitGroup
	for _, agent := range agents {
		full.Go(func() { flood(agent) })
	}
	full.Wait()
	testkit.Eventually(t, limit, idle, "two files for each whose end does not read")
	for _, c := range arrived {
		_ = c.Close()
	}
	r.quiet()
	testkit.Eventually(t, limit, func() bool {
		runtime.GC()
		return files(t) <= before+relays // the agents' own
	}, "nothing is left")
}

// A copy that is begun is one that ends: what is there may be more than there is
// room for, and a pipe would be held until somebody reads.
func TestNoPipeIsHeldForOneWhoDoesNotRead(t *testing.T) { // alone: it counts files
	if runtime.GOOS != "linux" {
		return // elsewhere there are no pipes
	}
	source, from := pair(t)
	to, deaf := pair(t)
	fatal(t, to.SetWriteBuffer(16<<10)) // what a kernel begins with
	fatal(t, deaf.SetReadBuffer(4<<10))
	before := files(t)
	pumped := make(chan error, 1)
	go func() { pumped <- relay.Pump(to, from, func(int64) {}) }()
	flood(source)
	testkit.Eventually(t, limit, func() bool {
		runtime.GC()
		return files(t) == before
	}, "no pipe is held")
	fatal(t, deaf.SetLinger(0))
	fatal(t, deaf.Close())
	if err := <-pumped; err == nil {
		t.Error("a reset is taken for the end")
	}
}

// pair is both ends of a connection.
func pair(t *testing.T) (dialled, accepted *net.TCPConn) {
	t.Helper()
	l := listen(t)
	c, err := net.Dial("tcp", l.Addr().String())
	fatal(t, err)
	a, err := l.Accept()
	fatal(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		_ = a.Close()
	})
	return c.(*net.TCPConn), a.(*net.TCPConn)
}

// flood writes until all buffers are full.
func flood(c net.Conn) {
	b := make([]byte, 1<<20)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

func exchange(t *testing.T, from, to net.Conn) {
	t.Helper()
	_, err := from.Write(make([]byte, 10_000))
	fatal(t, err)
	_, err = io.ReadFull(to, make([]byte, 10_000))
	fatal(t, err)
}

func files(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	fatal(t, err)
	return len(list)
}
