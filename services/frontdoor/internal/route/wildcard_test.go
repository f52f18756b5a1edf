package route_test

import (
	"testing"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

func named(name string) route.Claim {
	c := claim(1)
	c.Hostname = name
	return c
}

// The name's own route, else that of the nearest wildcard above it.
func TestTheNearestWildcardServes(t *testing.T) {
	t.Parallel()
	table, _ := newTable(nil)
	for _, name := range []string{"app.dev.example.com", "*.dev.example.com", "*.deep.dev.example.com", "*.example.org"} {
		table.PutClaim(named(name))
	}
	kept := named("kept.dev.example.com")
	kept.Parked = true
	table.PutClaim(kept)
	for host, want := range map[string]string{
		"app.dev.example.com":       "app.dev.example.com",
		"x.dev.example.com":         "*.dev.example.com",
		"x.y.dev.example.com":       "*.dev.example.com",
		"x.app.dev.example.com":     "*.dev.example.com",
		"x.deep.dev.example.com":    "*.deep.dev.example.com",
		"deep.dev.example.com":      "*.dev.example.com",
		"kept.dev.example.com":      "kept.dev.example.com", // parked: nobody's visitors go elsewhere
		"dev.example.com":           "",
		"xdev.example.com":          "",
		"example.com":               "",
		"com":                       "",
		"a.example.org":             "*.example.org",
		"x.dev.example.com.evil.io": "",
	} {
		got := ""
		if r := table.Lookup(host); r != nil {
			got = r.Claim.Hostname
		}
		if got != want {
			t.Errorf("%s is served by %q, want %q", host, got, want)
		}
	}
	if table.Own("x.dev.example.com") != nil || table.Own("*.dev.example.com") == nil {
		t.Error("a name's own route is not its own")
	}
	table.RemoveClaim("*.deep.dev.example.com")
	if r := table.Lookup("x.deep.dev.example.com"); r == nil || r.Claim.Hostname != "*.dev.example.com" {
		t.Errorf("behind the nearest one: %v", r)
	}
	table.RemoveClaim("*.dev.example.com")
	table.RemoveClaim("*.example.org")
	if table.Lookup("x.dev.example.com") != nil || table.Lookup("app.dev.example.com") == nil {
		t.Error("what is removed is still served, or more than that is removed")
	}
}

func TestLookupsOfWildcardsAllocateNothing(t *testing.T) {
	table, _ := newTable(nil)
	table.PutClaim(named("*.dev.example.com"))
	if n := testing.AllocsPerRun(100, func() { table.Lookup("a.b.c.dev.example.com") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
