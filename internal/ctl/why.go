package ctl

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
)

type explainCommand struct {
	outputFlag
	URL string `arg:"" name:"url" help:"A URL, a hostname, or tcp:PORT."`
}

// Run says what the cluster would do with a request now, and why.
func (c *explainCommand) Run(ctx context.Context, e *env) error {
	answer := &frontdoorv1.ExplainResponse{}
	if err := e.rpc(ctx, http.MethodGet, "/v1/explain", url.Values{"url": {c.URL}}, nil, answer); err != nil {
		return err
	}
	if c.Output != "table" {
		return writeMessage(e.stdout, answer, c.Output)
	}
	if _, err := fmt.Fprintf(e.stdout, "%s: %s\n", answer.GetEndpoint(), answer.GetVerdict().GetText()); err != nil {
		return err
	}
	t := table{w: e.stdout}
	return t.write(facts(e, answer)...)
}

// facts are what the verdict follows from, a row each.
func facts(e *env, a *frontdoorv1.ExplainResponse) [][]string {
	var rows [][]string
	add := func(what string, words ...string) {
		rows = append(rows, []string{"  " + what, strings.Join(words, ", ")})
	}
	if problem := a.GetRegistryProblem(); problem != "" {
		add("registry", problem)
	}
	if r := a.GetReservation(); r != nil {
		add("reserved", r.GetId(), "account "+r.GetAccountId())
	}
	if o := a.GetOwnership(); o != nil {
		add("owner", owner(e, o)...)
		if len(o.GetPolicy()) > 0 {
			add("policy", o.GetPolicy()...)
		}
	}
	for _, m := range a.GetMembers() {
		add("member", "agent "+m.GetAgentId(), fmt.Sprintf("%d visitors on their way", m.GetInFlight()))
	}
	for _, w := range a.GetAttachments() {
		words := []string{"session " + w.GetSessionId()}
		switch s := w.GetSession(); {
		case s != nil:
			m := s.ProtoReflect()
			words = append(words, "open for "+value(m, "age", e.now()), "heard "+value(m, "silence", e.now())+" ago", "round trip "+value(m, "round_trip", e.now()))
		case w.GetReachable():
			words = append(words, "the connector has no such session")
		default:
			words = append(words, "the connector does not answer")
		}
		if !w.GetListed() {
			words = append(words, "its lease has run out")
		}
		if !w.GetCurrent() {
			words = append(words, "of an earlier owner")
		}
		add("through "+w.GetConnectorId(), words...)
	}
	for _, f := range a.GetFrontdoors() {
		add("frontdoor "+f.GetFrontdoorId(), frontdoorWords(f)...)
	}
	for _, node := range a.GetMissingNodes() {
		add("missing", node+" has not answered within a second")
	}
	return rows
}

func owner(e *env, o *frontdoorv1.Ownership) []string {
	who := "agent " + o.GetAgentId()
	if o.GetPooled() {
		who = "a pool"
	}
	return []string{
		"account " + o.GetAccountId(), who, o.GetState(), "generation " + strconv.FormatUint(o.GetGeneration(), 10),
		"since " + value(o.ProtoReflect(), "age", e.now()), o.GetProtocol(),
	}
}

func frontdoorWords(f *frontdoorv1.FrontdoorState) []string {
	words := []string{"does not know it"}
	if f.GetKnown() {
		words = []string{fmt.Sprintf("knows generation %d with %d attachments", f.GetGeneration(), f.GetAttachments()),
			fmt.Sprintf("%d of %d connections idle", f.GetIdleConnections(), f.GetConnections())}
	}
	if lost := f.GetLostFor(); lost != nil {
		words = append(words, "lost "+brief(lost.AsDuration())+" ago")
	}
	if problem := f.GetPortProblem(); problem != "" {
		words = append(words, "cannot listen: "+problem)
	}
	words = append(words, fmt.Sprintf("at revision %d, heard %s ago", f.GetRevision(), brief(f.GetAge().AsDuration())))
	if f.GetDraining() {
		words = append(words, "draining")
	}
	return words
}
