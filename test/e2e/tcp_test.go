package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dialback/dialback/test/e2e/harness"
)

// tcpPorts are how many each server of these tests has.
const tcpPorts = 4

// tcpServer starts dialbackd with ports that nobody has at the time.
func tcpServer(t *testing.T) (s *harness.Server, first int) {
	t.Helper()
	for first == 0 || !free(first, tcpPorts) {
		first = 12_000 + rand.IntN(18_000)
	}
	return harness.StartServer(t, nil, "--tcp-ports", fmt.Sprintf("%d-%d", first, first+tcpPorts-1)), first
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// tcpAgent starts `dialback tcp` as the server's own user, and returns the
// visitors' port.
func tcpAgent(t *testing.T, d *harness.Deployment, args ...string) (*harness.Agent, string) {
	t.Helper()
	agent := harness.StartAgent(t, d.Env(), append([]string{"tcp", "--server", d.AgentAddr()}, args...)...)
	port := agent.WaitLog(`tcp://localhost:(\d+)`)
	harness.Eventually(t, "the port is not opened", func() bool {
		l, err := net.Listen("tcp", "127.0.0.1:"+port) // a connection would be a visitor
		if err == nil {
			_ = l.Close()
		}
		return err != nil
	})
	return agent, port
}

func dialPort(t *testing.T, port string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(harness.Limit))
	return c.(*net.TCPConn)
}

// greeter says a banner before it has heard anything, repeats what it hears to the
// end of it, and says goodbye: without half-close nobody hears that.
func greeter(t *testing.T) string {
	return serveRaw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "SSH-2.0-greeter\r\n")
		_, _ = io.Copy(c, c)
		_, _ = io.WriteString(c, "bye\n")
	})
}

func TestNetcatThroughAPort(t *testing.T) {
	t.Parallel()
	server, _ := tcpServer(t)
	_, port := tcpAgent(t, server.Deployment, greeter(t))
	for range 3 {
		code, out := harness.Run(t, nil, "sh", "-c", "printf 'hello\\n' | nc -N 127.0.0.1 "+port)
		if code != 0 || out != "SSH-2.0-greeter\r\nhello\nbye\n" {
			t.Errorf("exit %d: %q", code, out)
		}
	}
}

func TestTLSThroughAPort(t *testing.T) {
	t.Parallel()
	server, _ := tcpServer(t)
	service := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(service.Close)
	_, port := tcpAgent(t, server.Deployment, service.Listener.Addr().String())
	code, out := harness.Run(t, nil, "sh", "-c", "openssl s_client -brief -connect 127.0.0.1:"+port+" </dev/null")
	if code != 0 || !strings.Contains(out, "CONNECTION ESTABLISHED") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

// A GiB down and up at the same time, and the server keeps none of it.
func TestAGiBThroughAPort(t *testing.T) {
	t.Parallel()
	const size = gib
	server, _ := tcpServer(t)
	sum := func(r io.Reader) (string, error) {
		h := sha256.New()
		n, err := io.Copy(h, r)
		return fmt.Sprintf("%d %x", n, h.Sum(nil)), err
	}
	source := func(seed byte) io.Reader {
		return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
	}
	arrived := make(chan string, 1)
	_, port := tcpAgent(t, server.Deployment, serveRaw(t, func(c net.Conn) {
		go func() {
			_, _ = io.Copy(c, source(1))
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		got, _ := sum(c)
		arrived <- got
	}))
	c := dialPort(t, port)
	_ = c.SetDeadline(time.Time{})
	before := resident(t, server.PID())
	go func() {
		_, _ = io.Copy(c, source(2))
		_ = c.CloseWrite()
	}()
	down, err := sum(c)
	if err != nil {
		t.Fatal(err)
	}
	up := <-arrived
	if want, _ := sum(source(1)); down != want {
		t.Errorf("down: %s, want %s", down, want)
	}
	if want, _ := sum(source(2)); up != want {
		t.Errorf("up: %s, want %s", up, want)
	}
	if grown := resident(t, server.PID()) - before; grown > 128<<20 {
		t.Errorf("the server has grown by %d MiB", grown>>20)
	}
}

// resident is the memory that a process has, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	return atoi(t, strings.Fields(string(text))[1]) * os.Getpagesize()
}

// A port stays the agent's over restarts of both; another agent has another one; a
// stranger does not get it.
func TestAPortStaysItsAgents(t *testing.T) {
	t.Parallel()
	server, first := tcpServer(t)
	local := greeter(t)
	agent, port := tcpAgent(t, server.Deployment, local)
	other, otherPort := tcpAgent(t, server.Deployment, greeter(t))
	if port == otherPort {
		t.Errorf("two agents have port %s", port)
	}
	_ = other.Terminate()
	if code := agent.Terminate(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if code, out := harness.Run(t, server.User("rival"), harness.Bin("dialback"), "tcp", local, "--remote-port", port); code != 4 || !strings.Contains(out, port) {
		t.Errorf("a stranger asks for it: exit %d\n%s", code, out)
	}
	if code := server.Stop(); code != 0 {
		t.Errorf("the server: exit %d", code)
	}
	server.Restart()
	agent, again := tcpAgent(t, server.Deployment, local)
	if again != port {
		t.Errorf("port %s, was %s", again, port)
	}
	outside := strconv.Itoa(first + tcpPorts)
	if code, out := harness.Run(t, server.Env(), harness.Bin("dialback"), "tcp", local, "--server", server.AgentAddr(), "--remote-port", outside); code != 4 || !strings.Contains(out, "choose one of these") {
		t.Errorf("a port outside of the range: exit %d\n%s", code, out)
	}

	// The agent is killed: its visitor hears of it.
	c := dialPort(t, port)
	if _, err := io.ReadFull(c, make([]byte, len("SSH-2.0-greeter\r\n"))); err != nil {
		t.Fatal(err)
	}
	agent.Kill()
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the visitor of a killed agent hears %v, want a reset", err)
	}
}

// A revoked token ends connections at once, and the agent with it.
func TestARevokedTokenEndsConnectionsOfItsPort(t *testing.T) {
	t.Parallel()
	server, _ := tcpServer(t)
	id, token, pin := server.Token()
	env := append(harness.Home(t.TempDir()), "DIALBACK_SERVER="+server.AgentAddr(), "DIALBACK_AUTHTOKEN="+token, "DIALBACK_CA_PIN="+pin)
	agent := harness.StartAgent(t, env, "tcp", greeter(t))
	port := agent.WaitLog(`tcp://localhost:(\d+)`)
	var c *net.TCPConn
	harness.Eventually(t, "the port is not opened", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c = conn.(*net.TCPConn)
		}
		return err == nil
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(harness.Limit))
	if _, err := io.ReadFull(c, make([]byte, len("SSH-2.0-greeter\r\n"))); err != nil {
		t.Fatal(err)
	}
	server.Ctl("token", "revoke", id)
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the visitor hears %v, want a reset", err)
	}
	if code := agent.Wait(); code != 3 {
		t.Errorf("the agent: exit %d, want 3", code)
	}
}

// A port that another program has is reported, where operators look.
func TestAPortThatAnotherProgramHas(t *testing.T) {
	t.Parallel()
	server, first := tcpServer(t)
	squatter, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(first))
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	agent := harness.StartAgent(t, server.Env(), "tcp", greeter(t), "--server", server.AgentAddr(), "--remote-port", strconv.Itoa(first))
	agent.WaitLog(`tcp://localhost:(\d+)`)
	server.WaitLogs("a port cannot be listened on", "address already in use")
	harness.Eventually(t, "the tunnel does not show it", func() bool {
		_, out := harness.Run(t, server.Env(), harness.Bin("dialbackctl"), "get", "tunnels", "-o", "yaml")
		return strings.Contains(out, "address already in use")
	})
}

func TestAServerWithoutPorts(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil, "--tcp-ports", "")
	code, out := harness.Run(t, server.Env(), harness.Bin("dialback"), "tcp", "22", "--server", server.AgentAddr())
	if code != 1 || !strings.Contains(out, "serves no tcp endpoints") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
