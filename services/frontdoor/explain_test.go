package frontdoor_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// InspectName answers what a user may see of a name.
func (r *fakeRegistry) InspectName(ctx context.Context, q *registryv1.InspectNameRequest) (*registryv1.InspectNameResponse, error) {
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sees := principal.From(ctx).Sees
	answer := &registryv1.InspectNameResponse{Position: &registryv1.Position{Epoch: 1, Revision: r.revision}}
	if reservation := r.reserved[q.GetName()]; sees(reservation.GetAccountId()) {
		answer.Reservation = reservation
	}
	if c := r.claims[q.GetName()]; c != nil && sees(c.GetAccountId()) {
		answer.Claim, answer.Attachments = c, r.attached[q.GetName()]
		for name, member := range r.claims {
			if member.GetPool() == q.GetName() {
				answer.Members = append(answer.Members, &registryv1.NameMember{Claim: member, Attachments: r.attached[name]})
			}
		}
	}
	return answer, nil
}

func TestExplainSaysWhoseANameIsThatNobodyBinds(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	name := "shop." + domain
	if text, _ := w.verdict(name, "dbk_admin"); !strings.Contains(text, "it is free") {
		t.Errorf("nobody's: %s", text)
	}
	w.registry.mu.Lock()
	w.registry.reserved = map[string]*registryv1.Reservation{name: {Id: "*." + domain, AccountId: "default"}}
	w.registry.mu.Unlock()
	text, answer := w.verdict(name, "dbk_reader")
	if by, _ := answer["reservation"].(map[string]any); by["id"] != "*."+domain || by["account_id"] != "default" || !strings.Contains(text, "reserved for account default, by *."+domain) {
		t.Errorf("reserved: %s %v", text, answer["reservation"])
	}
	text, answer = w.verdict(name, "dbk_other")
	if answer["reservation"] != nil || strings.Contains(text, "reserved") {
		t.Errorf("to another account: %s %v", text, answer["reservation"])
	}
	parked := claimChange(w.agent(""), name, nil)
	parked.GetClaim().State = registryv1.ClaimState_CLAIM_STATE_PARKED
	w.registry.put(parked)
	text, answer = w.verdict(name, "dbk_reader")
	if owner, _ := answer["ownership"].(map[string]any); owner["state"] != "parked" || !strings.Contains(text, "is kept for agent") {
		t.Errorf("parked: %s %v", text, answer["ownership"])
	}
}

// A visitor who is on his way is counted with the member that he goes through.
func TestExplainNamesTheMembersOfAPoolAndTheirVisitors(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	w.registry.put(pooledChange(app))
	arrived, leave := make(chan struct{}), make(chan struct{})
	slow := upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-leave
	})
	busy := w.member(app, slow)
	visit := make(chan error, 1)
	go func() {
		res, err := w.client().Get("http://" + app + "/")
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		visit <- err
	}()
	<-arrived
	idle := w.member(app, saying(t, "idle"))
	var answer map[string]any
	var text string
	testkit.Eventually(t, limit, func() bool {
		text, answer = w.verdict(app, "dbk_reader")
		return len(answer["frontdoors"].([]any)[0].(map[string]any)["members"].([]any)) == 2
	}, "the frontdoor knows both members")
	inFlight := map[string]any{}
	for _, m := range answer["members"].([]any) {
		inFlight[m.(map[string]any)["agent_id"].(string)] = m.(map[string]any)["in_flight"]
	}
	if len(inFlight) != 2 || inFlight[busy.id] != 1.0 || inFlight[idle.id] != 0.0 {
		t.Errorf("visitors on their way: %v", inFlight)
	}
	if !strings.Contains(text, "would be served by one of 2 agents") || !strings.Contains(text, busy.id) || len(answer["attachments"].([]any)) != 2 {
		t.Errorf("%s %v", text, answer["attachments"])
	}
	close(leave)
	fatal(t, <-visit)
	testkit.Eventually(t, limit, func() bool {
		_, answer = w.verdict(app, "dbk_reader")
		return !slices.ContainsFunc(answer["members"].([]any), func(m any) bool { return m.(map[string]any)["in_flight"] != 0.0 })
	}, "the visitor has left")
}

func TestExplainTakesPorts(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, "", func(c *frontdoor.Config) { c.APIListen, c.APIRate = "127.0.0.1:0", 10_000 })
	if text, answer := w.verdict(tcpName, "dbk_admin"); answer["endpoint"] != tcpName || text != "no connection because nobody has the name "+tcpName+"; it is free" {
		t.Errorf("nobody's: %s %v", text, answer["endpoint"])
	}
	squatter, err := net.Listen("tcp", w.address)
	fatal(t, err)
	defer squatter.Close()
	w.open()
	var text string
	var answer map[string]any
	testkit.Eventually(t, limit, func() bool {
		text, answer = w.verdict("tcp://"+domain+":"+tcpPort, "dbk_reader")
		return strings.Contains(text, "cannot listen on the port")
	}, "the port's problem is known")
	if here := answer["frontdoors"].([]any)[0].(map[string]any); !strings.Contains(here["port_problem"].(string), "in use") || answer["ownership"].(map[string]any)["agent_id"] != w.agent.id {
		t.Errorf("%v", answer)
	}
	for _, bad := range []string{"tcp:", "tcp:0", "tcp:65536", "tcp:x", "tcp://" + domain} {
		if status, answer := w.api("GET", "/v1/explain?url="+bad, "dbk_reader"); status != http.StatusBadRequest || !strings.Contains(fmt.Sprint(answer["fields"]), "url") {
			t.Errorf("%s: %d %v", bad, status, answer)
		}
	}
}

// Whoever does not answer within a second is named, and the others' word counts.
func TestExplainNamesWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	w := restWorld(t)
	name := "web." + domain
	w.tunnel(name, "")
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	fatal(t, err)
	defer silent.Close()
	w.registry.put(&registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, Id: "fd-2", Address: silent.Addr().String(), State: registryv1.NodeState_NODE_STATE_READY,
	}}})
	w.registry.mu.Lock()
	w.registry.stuck = true
	w.registry.mu.Unlock()
	var text string
	var answer map[string]any
	testkit.Eventually(t, limit, func() bool {
		text, answer = w.verdict(name, "dbk_reader")
		return fmt.Sprint(answer["missing_nodes"]) == "[fd-2]" && answer["frontdoors"].([]any)[0].(map[string]any)["known"] == true
	}, "the silent frontdoor is named")
	if answer["registry_problem"] != "the registry did not answer within a second" || !strings.Contains(text, "would be served by agent") {
		t.Errorf("%s %v", text, answer["registry_problem"])
	}
}
