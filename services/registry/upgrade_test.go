package registry_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/internal/tlsconf"
)

// The records of testdata/records-1.txt, as the version before reservations, ports
// and quotas has written them: two connectors and a frontdoor, an endpoint with two
// attachments, one of another account, one without attachment, a random one, a
// parked one. What a lease ended with is marked.
func loadRecords(t *testing.T, d *deployment, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lease, err := d.etcd.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		value, err := base64.StdEncoding.DecodeString(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		var opts []clientv3.OpOption
		if fields[1] == "lease" {
			opts = append(opts, clientv3.WithLease(lease.ID))
		}
		if _, err := d.etcd.Put(t.Context(), fields[0], string(value), opts...); err != nil {
			t.Fatal(err)
		}
	}
}

// The agents in the records.
func storedAgents() (acme, other agent) {
	return agent{account: "acme", id: "agent-00112233445566778899aabbccddeeff", instance: []byte("0123456789abcdef")},
		agent{account: "other", id: "agent-ffeeddccbbaa99887766554433221100", instance: []byte("fedcba9876543210")}
}

func TestRecordsOfTheVersionBeforeAreRead(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	loadRecords(t, d, "testdata/records-1.txt")
	r := d.start()
	acme, other := storedAgents()
	c, f := r.connector("c9"), r.node(tlsconf.RoleFrontdoor, "f9")
	defer c.keepBeating()()

	found, err := f.lookup("app.example.com")
	if err != nil || len(found.GetAttachments()) != 2 || found.GetClaim().GetAgentId() != acme.id ||
		found.GetClaim().GetMetadata()["team"] != "core" || found.GetClaim().GetCritical()[0] != "geo" {
		t.Fatalf("lookup: %v, %v", found, err)
	}
	f.watchFrom(5 + 4 + 3 + 1) // claims, attachments, nodes, and this test's own one
	// Owners are owners, in whatever state their claim is.
	for _, host := range []string{"app.example.com", "lost.example.com"} {
		if _, err := c.tryBind(other, "x1", newTunnel(), host); !errors.Is(err, errTaken) {
			t.Errorf("a rival for %s: %v", host, err)
		}
	}
	if parked := c.bind(acme.restarted(), "x2", strings.Repeat("3", 32), ""); parked.resp.GetHostname() != "ep2n48g7vj0yj.example.com" {
		t.Errorf("the parked name comes back as %q", parked.resp.GetHostname())
	}
	if again := c.bind(acme.restarted(), "x3", strings.Repeat("4", 32), "lost.example.com"); again.resp.GetGeneration() == 0 {
		t.Errorf("the lost one: %v", again.resp)
	}
	moved := c.bind(other.restarted(), "x4", strings.Repeat("2", 32), "b.dev.example.com")
	if err := c.release(moved); err != nil {
		t.Error(err)
	}
	if _, err := f.lookup("b.dev.example.com"); !errors.Is(err, errNotFound) {
		t.Errorf("released: %v", err)
	}
}
