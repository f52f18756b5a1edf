package frontdoor_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
)

// member has an agent serve a pool's name, in front of a local address.
func (w *world) member(pool, upstream string) *fakeAgent {
	w.t.Helper()
	c := w.connectors["c1"]
	if c == nil {
		c = w.connector("c1")
	}
	a := w.agent(upstream)
	name := "@" + a.id + "+t." + pool
	w.attach(c, a, name)
	claim := claimChange(a, name, nil)
	claim.GetClaim().Pool = pool
	w.registry.put(claim, attachChange(name, c.id, "session-"+a.id))
	return a
}

func pooledChange(pool string) *registryv1.Change {
	return &registryv1.Change{Change: &registryv1.Change_Claim{Claim: &registryv1.Claim{
		Hostname: pool, State: registryv1.ClaimState_CLAIM_STATE_ACTIVE, Generation: 1, AccountId: "default",
		Protocol: proxyv1.Protocol_PROTOCOL_HTTP, Revision: 1, Pooled: true,
	}}}
}

func saying(t *testing.T, name string) string {
	t.Helper()
	return upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, name)
	})
}

// visits makes requests, each of a visitor of its own, and counts who answered.
func (w *world) visits(n int) map[string]int {
	w.t.Helper()
	answers := map[string]int{}
	for i := range n {
		client := w.client()
		body, method := io.Reader(http.NoBody), http.MethodGet
		if i%2 == 1 {
			body, method = strings.NewReader("not to be sent twice"), http.MethodPost
		}
		req, err := http.NewRequestWithContext(w.ctx, method, "http://"+app+"/", body)
		fatal(w.t, err)
		res, err := client.Do(req)
		fatal(w.t, err)
		text, err := io.ReadAll(res.Body)
		fatal(w.t, err)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			w.t.Errorf("%s %d: %s, %s", method, i, res.Status, text)
		}
		answers[string(text)]++
	}
	return answers
}

func TestVisitorsAreSpreadOverAPool(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.registry.put(pooledChange(app))
	first := w.member(app, saying(t, "first"))
	w.member(app, saying(t, "second"))
	if got := w.visits(40); got["first"] < 5 || got["second"] < 5 {
		t.Errorf("answered by %v", got)
	}
	w.connectors["c1"].end(first, "session-"+first.id, agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	testkit.Eventually(t, limit, func() bool { return w.visits(4)["first"] == 0 }, "the first is left out")
	if got := w.visits(20); got["second"] != 20 {
		t.Errorf("answered by %v", got)
	}
}

// Nothing of a request has reached a service that refuses: another member may
// have it, whatever its method.
func TestAMemberThatRefusesIsPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.registry.put(pooledChange(app))
	w.member(app, closedPort(t))
	w.member(app, saying(t, "well"))
	if got := w.visits(40); got["well"] != 40 {
		t.Errorf("answered by %v", got)
	}
}

// The last attachment of all members is lost: visitors wait for any of them.
func TestVisitorsWaitForAnyMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.registry.put(pooledChange(app))
	lost := w.member(app, saying(t, "lost"))
	w.visits(2)
	w.connectors["c1"].end(lost, "session-"+lost.id, agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	testkit.Eventually(t, limit, func() bool { return lost.conns() == 0 }, "the end is heard")
	done := make(chan map[string]int)
	go func() { done <- w.visits(1) }()
	w.member(app, saying(t, "other"))
	if got := <-done; got["other"] != 1 {
		t.Errorf("answered by %v", got)
	}
}
