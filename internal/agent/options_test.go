package agent_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
)

func TestPasswordsLeaveOnlyAsHashes(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	tunnel := agent.Tunnel{Upstream: service(t, "x"), BasicAuth: []agent.Credential{{Username: "ann", Password: "correct horse"}, {Username: "bob", Password: "x:y"}}}
	start(t, config(t, server, tunnel))
	session := server.Session(1)
	first := agenttest.Await[*agentv1.ConnectRequest_ReqTunnel](session).ReqTunnel
	server.Session(1).End(nil)
	second := agenttest.Await[*agentv1.ConnectRequest_ReqTunnel](server.Session(2)).ReqTunnel
	if !bytes.Equal(first.GetOptions(), second.GetOptions()) {
		t.Error("the options of one process change from session to session")
	}
	if !slices.Equal(first.GetCritical(), []string{"basic_auth"}) {
		t.Errorf("critical options %v: a part that does not know it would serve without", first.GetCritical())
	}
	if strings.Contains(first.String(), "horse") {
		t.Error("the password is on the wire")
	}
	var options agentv1.EndpointOptions
	if err := proto.Unmarshal(first.GetOptions(), &options); err != nil || len(options.GetBasicAuth()) != 2 {
		t.Fatalf("options %v, %v", &options, err)
	}
	for i, password := range []string{"correct horse", "x:y"} {
		user := options.GetBasicAuth()[i]
		want, err := pbkdf2.Key(sha256.New, password, user.GetSalt(), 100_000, 32)
		if err != nil || !bytes.Equal(user.GetHash(), want) || len(user.GetSalt()) != 16 {
			t.Errorf("user %v", user)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	users := make([]agent.Credential, 17)
	for i := range users {
		users[i] = agent.Credential{Username: "u", Password: "p"}
	}
	for name, c := range map[string]agent.Config{
		"no server":               {},
		"an IP without domain":    {Address: "127.0.0.1:443"},
		"both names":              {Address: "a.example", Tunnels: []agent.Tunnel{{Hostname: "a.example", Subdomain: "a"}}},
		"too many users":          {Address: "a.example", Tunnels: []agent.Tunnel{{BasicAuth: users}}},
		"a user with a colon":     {Address: "a.example", Tunnels: []agent.Tunnel{{BasicAuth: []agent.Credential{{Username: "a:b", Password: "p"}}}}},
		"a user that is too long": {Address: "a.example", Tunnels: []agent.Tunnel{{BasicAuth: []agent.Credential{{Username: strings.Repeat("u", 129), Password: "p"}}}}},
	} {
		if _, err := agent.New(c, agent.Deps{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
