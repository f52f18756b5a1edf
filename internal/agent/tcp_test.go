package agent_test

import (
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
)

func TestParseTCPUpstream(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"22": "localhost:22", "db:5432": "db:5432", "DB.Example:5432": "db.example:5432", "[::1]:22": "[::1]:22", "127.0.0.1:022": "127.0.0.1:22",
		"": "", "0": "", "65536": "", "x": "", ":22": "", "host:": "", "host:ssh": "", "tcp://host:22": "", "http://host:80": "", "a b:22": "",
	} {
		got, err := forward.ParseTCPUpstream(in)
		if got.Address != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got.Address, err, want)
		}
	}
}

func TestWhatATunnelCannotBe(t *testing.T) {
	t.Parallel()
	for name, tunnel := range map[string]agent.Tunnel{
		"tcp with a hostname":  {Protocol: agent.TCP, Hostname: "a.example"},
		"tcp with a subdomain": {Protocol: agent.TCP, Subdomain: "a", RemotePort: 20000},
		"tcp with a login":     {Protocol: agent.TCP, BasicAuth: []agent.Credential{{Username: "a", Password: "p"}}},
		"tcp in a pool":        {Protocol: agent.TCP, RemotePort: 20000, Pooling: true},
		"http with a port":     {RemotePort: 20000},
		"another protocol":     {Protocol: "sctp"},
	} {
		if _, err := agent.New(agent.Config{Address: "a.example", Tunnels: []agent.Tunnel{tunnel}}, agent.Deps{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// A tcp tunnel asks for its port, or for none; the tunnel's id, on which its port
// hangs, stays the same.
func TestATCPTunnelAsksForItsPort(t *testing.T) {
	t.Parallel()
	for _, port := range []uint16{0, 20017} {
		server := agenttest.New(t)
		server.Start()
		c := config(t, server, agent.Tunnel{Protocol: agent.TCP, RemotePort: port, Upstream: upstream(t, "22")})
		var ids []string
		for i := range 2 {
			r := start(t, c)
			await[agent.TunnelOnline](r, 1)
			asked := agenttest.Await[*agentv1.ConnectRequest_ReqTunnel](server.Session(i + 1)).ReqTunnel
			if asked.GetProtocol() != proxyv1.Protocol_PROTOCOL_TCP || asked.GetRemotePort() != uint32(port) || port == 0 && asked.GetName() != nil {
				t.Errorf("asked for %v", asked)
			}
			ids = append(ids, asked.GetTunnelId())
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
		}
		if ids[0] != ids[1] {
			t.Errorf("tunnel ids %v", ids)
		}
	}
}
