package registry_test

import (
	"strings"
	"testing"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
)

func (u *user) inspect(name string) *registryv1.InspectNameResponse {
	u.t.Helper()
	found, err := u.names.InspectName(u.ctx(), &registryv1.InspectNameRequest{Name: name})
	if err != nil {
		u.t.Fatalf("inspect %s: %v", name, err)
	}
	return found
}

// The most specific reservation governs a name, and is shown to whom it belongs.
func TestANameIsInspected(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	acme, other := r.user("operator@acme"), r.user("read-only@other")
	if found := acme.inspect("a.dev.example.com"); found.GetClaim() != nil || found.GetReservation() != nil || found.GetForbidden() != "" {
		t.Errorf("a free one: %v", found)
	}
	acme.reserve("*.dev.example.com")
	if found := acme.inspect("a.dev.example.com"); found.GetReservation().GetId() != "*.dev.example.com" || found.GetReservation().GetAccountId() != "acme" {
		t.Errorf("below a wildcard: %v", found)
	}
	acme.reserve("a.dev.example.com")
	if found := acme.inspect("A.dev.example.com"); found.GetReservation().GetId() != "a.dev.example.com" {
		t.Errorf("reserved itself: %v", found)
	}
	c := r.connector("c1")
	b := c.bind(newAgent("acme"), "s1", newTunnel(), "a.dev.example.com")
	c.bind(newAgent("acme"), "s1", newTunnel(), "*.dev.example.com")
	if found := acme.inspect("a.dev.example.com"); found.GetClaim().GetAgentId() != b.agent.id || len(found.GetAttachments()) != 1 {
		t.Errorf("bound: %v", found)
	}
	if found := acme.inspect("b.dev.example.com"); found.GetClaim().GetHostname() != "*.dev.example.com" || len(found.GetAttachments()) != 1 {
		t.Errorf("served by a wildcard: %v", found)
	}
	for _, name := range []string{"a.dev.example.com", "b.dev.example.com"} {
		if found := other.inspect(name); found.GetClaim() != nil || found.GetAttachments() != nil || found.GetReservation() != nil {
			t.Errorf("%s, to another account: %v", name, found)
		}
	}
	for name, why := range map[string]string{
		"api.example.com": "the system's own", "www.example.org": "must be reserved or granted", "tcp:80": "no tcp endpoints",
	} {
		if found := acme.inspect(name); !strings.Contains(found.GetForbidden(), why) {
			t.Errorf("%s: %q", name, found.GetForbidden())
		}
	}
}

// A random name is kept for its agent, and says so.
func TestAParkedNameIsInspected(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c := r.connector("c1")
	b := c.bind(newAgent("acme"), "s1", newTunnel(), "")
	if err := c.release(b); err != nil {
		t.Fatal(err)
	}
	found := r.user("read-only@acme").inspect(b.resp.GetHostname())
	if found.GetClaim().GetState() != registryv1.ClaimState_CLAIM_STATE_PARKED || found.GetClaim().GetAgentId() != b.agent.id {
		t.Errorf("parked: %v", found)
	}
}

func TestAPoolIsInspectedWithItsMembers(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c := r.connector("c1")
	agents := map[string]bool{}
	for range 2 {
		a := newAgent("acme")
		req := c.request(a, "s-"+a.id, newTunnel(), "app.example.com")
		req.Pooling = true
		if _, err := c.directory.Bind(c.ctx(), req); err != nil {
			t.Fatal(err)
		}
		agents[a.id] = true
	}
	found := r.user("read-only@acme").inspect("app.example.com")
	if !found.GetClaim().GetPooled() || len(found.GetMembers()) != 2 {
		t.Fatalf("a pool: %v", found)
	}
	for _, m := range found.GetMembers() {
		if !agents[m.GetClaim().GetAgentId()] || len(m.GetAttachments()) != 1 {
			t.Errorf("a member: %v", m)
		}
	}
	if found = r.user("read-only@other").inspect("app.example.com"); found.GetClaim() != nil || found.GetMembers() != nil {
		t.Errorf("to another account: %v", found)
	}
}
