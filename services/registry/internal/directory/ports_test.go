package directory_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

func (f *fixture) port(p directory.Principal, tunnel string, port uint16) (*directory.Claim, error) {
	req := f.request(p, "s-"+p.Agent, tunnel, "")
	req.Name, req.Service.Protocol = directory.Name{Port: port}, directory.ProtocolTCP
	return f.Bind(f.t.Context(), req)
}

func (f *fixture) mustPort(p directory.Principal, tunnel string, port uint16) uint16 {
	f.t.Helper()
	claim, err := f.port(p, tunnel, port)
	if err != nil {
		f.t.Fatalf("port %d for %s: %v", port, p.Agent, err)
	}
	return claim.Port()
}

func (f *fixture) close(p directory.Principal, tunnel string) {
	f.t.Helper()
	if err := f.Release(f.t.Context(), p, tunnel, directory.Closed, directory.Source{}); err != nil {
		f.t.Fatal(err)
	}
}

type grants struct {
	directory.Grants
	first, last uint16
}

func (g grants) AllowsPort(port uint16) bool { return g.first <= port && port <= g.last }

func TestExactPorts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	mine, others := agentOf("a"), principalOf("other")
	if got := f.mustPort(mine, "t1", 20001); got != 20001 {
		t.Errorf("port %d", got)
	}
	f.reserve(operator("other"), "", "tcp:20002")
	granted := mine
	granted.Grants = grants{first: 20003, last: 20009}
	for _, test := range []struct {
		who  directory.Principal
		port uint16
		want error
	}{
		{others, 20001, directory.ErrNameTaken},
		{mine, 20002, directory.ErrNameTaken},
		{mine, 19999, directory.ErrNameForbidden},
		{mine, 20004, directory.ErrNameForbidden},
		{granted, 20000, directory.ErrNotGranted},
		{granted, 20003, nil},
		{others, 20002, nil},
	} {
		if _, err := f.port(test.who, "t2", test.port); !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("port %d: %v, want %v", test.port, err, test.want)
		}
	}
	req := f.request(mine, "s1", "t3", host)
	req.Service.Protocol = directory.ProtocolTCP
	if _, err := f.Bind(t.Context(), req); !errors.Is(err, directory.ErrInvalid) {
		t.Errorf("a tcp tunnel with a hostname: %v", err)
	}
	f.config.Ports = directory.Ports{}
	f.Directory = directory.New(f.config, f.store, f.holders)
	if _, err := f.port(mine, "t4", 0); !errors.Is(err, directory.ErrOptionUnsupported) {
		t.Errorf("where there are no ports: %v", err)
	}
}

// A port is its tunnel's after a reconnect, a restart and an end; what others
// reserved or have is nobody's choice.
func TestAChosenPortStays(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	f.reserve(operator("other"), "", "tcp:20000")
	one, two := f.mustPort(p, "t1", 0), f.mustPort(p, "t2", 0)
	if one == two || one == 20000 || two == 20000 {
		t.Errorf("ports %d and %d", one, two)
	}
	f.close(p, "t1")
	f.close(p, "t2")
	p.Instance = "after a restart"
	if again := f.mustPort(p, "t2", 0); again != two {
		t.Errorf("the port was %d and is %d", two, again)
	}
	if again := f.mustPort(p, "t1", 0); again != one {
		t.Errorf("the port was %d and is %d", one, again)
	}
	if e := f.endpoint(directory.PortName(one)); e.Claim.Generation == 0 || !e.Claim.Random || len(e.Attachments) != 1 {
		t.Errorf("the claim is %+v", e.Claim)
	}
}

// Yesterday's visitors of a port send their passwords to whoever has it today.
func TestAGivenUpPortRests(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	first, stranger := agentOf("a"), principalOf("other")
	for i, tunnel := range []string{"t0", "t1", "t2", "t3"} {
		f.mustPort(first, tunnel, uint16(20000+i))
	}
	old := f.endpoint("tcp:20002").Claim.Generation
	f.close(first, "t2")
	for _, port := range []uint16{0, 20002} {
		if claim, err := f.port(stranger, "x", port); err == nil {
			t.Fatalf("a stranger got port %d at once", claim.Port())
		}
	}
	if got := f.mustPort(agentOf("b"), "u", 20002); got != 20002 { // another agent of the account
		t.Errorf("port %d", got)
	}
	f.close(agentOf("b"), "u")

	// With nothing free, and when it has rested, a stranger gets it, but only by chance.
	f.config.PortRest = time.Nanosecond
	f.Directory = directory.New(f.config, f.store, f.holders)
	if _, err := f.port(stranger, "x", 20002); !errors.Is(err, directory.ErrNameTaken) {
		t.Errorf("a stranger asks for a parked port: %v", err)
	}
	claim, err := f.port(stranger, "x", 0)
	if err != nil || claim.Port() != 20002 || claim.Generation <= old || claim.Account != "other" {
		t.Fatalf("the stranger has %+v, %v", claim, err)
	}
	if got := f.keys("index/tunnel/acme/b"); len(got) != 0 {
		t.Errorf("the tunnel that had it still has %v", got)
	}
	// Its former owner is told, and with no port left that nothing is free.
	if _, err := f.port(agentOf("b"), "u", 20002); !errors.Is(err, directory.ErrNameTaken) {
		t.Errorf("the former owner: %v", err)
	}
	if _, err := f.port(agentOf("c"), "v", 0); !errors.Is(err, directory.ErrOverloaded) {
		t.Errorf("with all ports in use: %v", err)
	}
}

// However a port is left, it rests: its tunnel asks for another name, or an
// operator ends it and then forgets it.
func TestAPortRestsHoweverItIsLeft(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p, stranger := agentOf("a"), principalOf("other")
	f.mustPort(p, "t1", 20001)
	f.bind(p, "s-a", "t1", host) // another name
	f.mustPort(p, "t2", 20002)
	if err := f.Close(t.Context(), operator("acme"), "tcp:20002"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(t.Context(), operator("acme"), "tcp:20002"); !errors.Is(err, directory.ErrResting) {
		t.Errorf("forgotten at once: %v", err)
	}
	for _, port := range []uint16{20001, 20002} {
		if _, err := f.port(stranger, "x", port); !errors.Is(err, directory.ErrNameTaken) {
			t.Errorf("a stranger asks for %d: %v", port, err)
		}
	}
	if e := f.endpoint(host); e.Claim == nil || e.Claim.Tunnel != "t1" {
		t.Errorf("the tunnel has %+v", e.Claim)
	}
	if got := f.mustPort(p, "t3", 20001); got != 20001 { // the agent's own
		t.Errorf("port %d", got)
	}
	if got := f.keys("index/tunnel/acme/a/"); len(got) != 3 {
		t.Errorf("the tunnels are %v", got)
	}
	f.config.PortRest = time.Nanosecond
	f.Directory = directory.New(f.config, f.store, f.holders)
	if err := f.Close(t.Context(), operator("acme"), "tcp:20002"); err != nil {
		t.Errorf("forgotten when it has rested: %v", err)
	}
	if e := f.endpoint("tcp:20002"); e.Claim != nil {
		t.Errorf("the claim is %+v", e.Claim)
	}
}

// A free port is taken before one that somebody has given up.
func TestFreePortsComeFirst(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.config.PortRest = time.Nanosecond
	f.Directory = directory.New(f.config, f.store, f.holders)
	f.mustPort(principalOf("other"), "t", 20001)
	f.close(principalOf("other"), "t")
	seen := map[uint16]bool{}
	for _, tunnel := range []string{"t1", "t2", "t3"} {
		seen[f.mustPort(agentOf("a"), tunnel, 0)] = true
	}
	if len(seen) != 3 || seen[20001] {
		t.Errorf("ports %v", seen)
	}
}
