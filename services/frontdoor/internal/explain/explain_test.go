package explain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/explain"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	good := explain.Way{Connector: "c1", Current: true, Reachable: true, Session: true, RTT: 12 * time.Millisecond}
	away := explain.Way{Connector: "c2", Current: true}
	forgot := explain.Way{Connector: "c3", Current: true, Reachable: true}
	stale := explain.Way{Connector: "c4", Reachable: true, Session: true}
	facts := func(change func(*explain.Facts)) explain.Facts {
		f := explain.Facts{
			Endpoint: "web.example.com", Owner: &explain.Owner{Agent: "a1"}, Known: true, Hold: 5 * time.Second, Ways: []explain.Way{good},
		}
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		facts  explain.Facts
		status int
		reason errs.Reason
		words  []string
	}{
		"warm": {facts(func(f *explain.Facts) { f.Warm = 2 }), 0, "", []string{"served by agent a1 through c1", "warm"}},
		"cold": {facts(func(*explain.Facts) {}), 0, "", []string{"dial-back", "12ms"}},
		"two ways, one away": {
			facts(func(f *explain.Facts) { f.Ways = []explain.Way{away, good} }), 0, "", []string{"through c1,"},
		},
		"not in memory": {facts(func(f *explain.Facts) { f.Known = false }), 0, "", []string{"looked the name up"}},
		"a password": {
			facts(func(f *explain.Facts) { f.Owner.Policy = []string{"a user name and a password"} }), 0, "", []string{"asked for a user name"},
		},
		"warm, its connector away": {
			facts(func(f *explain.Facts) { f.Ways, f.Warm = []explain.Way{away}, 1 }), 0, "", []string{"a connection that stands", "c2 does not answer"},
		},
		"nobody": {
			facts(func(f *explain.Facts) { f.Owner, f.Ways = nil, nil }), 404, errs.ReasonEndpointNotFound, []string{"404 because nobody has"},
		},
		"nobody, and all is seen": {
			facts(func(f *explain.Facts) { f.Owner, f.Ways, f.SeesAll = nil, nil, true }), 404, errs.ReasonEndpointNotFound, []string{"it is free"},
		},
		"nobody that the asker sees": {
			facts(func(f *explain.Facts) { f.Owner, f.Ways = nil, nil }), 404, errs.ReasonEndpointNotFound, []string{"or it is another account's"},
		},
		"reserved": {
			facts(func(f *explain.Facts) {
				f.Owner, f.Ways, f.Reserved = nil, nil, &explain.Reserved{Name: f.Endpoint, Account: "team-a"}
			}), 404, errs.ReasonEndpointNotFound, []string{"it is reserved for account team-a"},
		},
		"reserved by a wildcard": {
			facts(func(f *explain.Facts) {
				f.Owner, f.Ways, f.Reserved = nil, nil, &explain.Reserved{Name: "*.example.com", Account: "team-a"}
			}), 404, errs.ReasonEndpointNotFound, []string{"for account team-a, by *.example.com"},
		},
		"nobody's to have": {
			facts(func(f *explain.Facts) { f.Owner, f.Ways, f.Forbidden = nil, nil, "one of the system's own" }),
			404, errs.ReasonEndpointNotFound, []string{"web.example.com: one of the system's own"},
		},
		"a pool": {
			facts(func(f *explain.Facts) {
				f.Owner = &explain.Owner{Members: []string{"a1", "a2"}}
				f.Ways = append(f.Ways, good)
			}), 0, "", []string{"one of 2 agents (a1, a2) through c1, after"},
		},
		"nobody, no registry": {
			facts(func(f *explain.Facts) { f.Owner, f.Ways, f.RegistryDown = nil, nil, true }), 404, errs.ReasonEndpointNotFound, []string{"registry does not answer"},
		},
		"parked": {facts(func(f *explain.Facts) { f.Owner.Parked = true }), 404, errs.ReasonEndpointNotFound, []string{"kept for agent a1"}},
		"an unknown option": {
			facts(func(f *explain.Facts) { f.Unsupported = "mtls" }), 503, errs.ReasonOptionUnsupported, []string{`"mtls"`},
		},
		"no way left": {
			facts(func(f *explain.Facts) { f.Ways = []explain.Way{away, forgot, stale} }), 503, errs.ReasonAgentOffline,
			[]string{"c2 does not answer", "c3 has no such session", "c4 is of an earlier owner"},
		},
		"just lost": {
			facts(func(f *explain.Facts) { f.Ways, f.LostFor = nil, 3*time.Second }), 503, errs.ReasonAgentOffline,
			[]string{"lost 3s ago", "at most 2s more"},
		},
		"long lost": {
			facts(func(f *explain.Facts) { f.Ways, f.LostFor = nil, 30*time.Second }), 503, errs.ReasonAgentOffline, []string{"lost 30s ago", "at once"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := explain.Judge(c.facts)
			if v.Served != (c.status == 0) || v.Status != c.status || v.Reason != c.reason {
				t.Errorf("%+v", v)
			}
			for _, words := range c.words {
				if !strings.Contains(v.Text, words) {
					t.Errorf("%q lacks %q", v.Text, words)
				}
			}
		})
	}
}

// A port has no status: the visitor's connection is refused or reset.
func TestVerdictsOnPorts(t *testing.T) {
	t.Parallel()
	v := explain.Judge(explain.Facts{Endpoint: "tcp:20017", Port: true, SeesAll: true})
	if v.Served || v.Status != 0 || v.Reason != errs.ReasonEndpointNotFound || v.Text != "no connection because nobody has the name tcp:20017; it is free" {
		t.Errorf("nobody: %+v", v)
	}
	v = explain.Judge(explain.Facts{Endpoint: "tcp:20017", Port: true, PortProblem: "address already in use", Owner: &explain.Owner{Agent: "a1"}})
	if v.Served || v.Status != 0 || !strings.Contains(v.Text, "cannot listen on the port: address already in use") {
		t.Errorf("not opened: %+v", v)
	}
}
