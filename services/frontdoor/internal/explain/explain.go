// Package explain judges what is known of an endpoint: what a visitor would get
// now, and why, in words.
package explain

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/errs"
)

// Facts is what the nodes have said of an endpoint.
type Facts struct {
	Endpoint string
	// Port says that the endpoint is one, PortProblem why the frontdoor cannot
	// listen on it; "": it can.
	Port        bool
	PortProblem string
	// Owner is the endpoint's claim; nil: nobody has it.
	Owner *Owner
	// Reserved says whose the name is without a claim; nil: nobody's.
	Reserved *Reserved
	// Forbidden is why nobody can have the name; "": somebody can.
	Forbidden string
	// SeesAll says that the asker would be shown what any account has.
	SeesAll bool
	// RegistryDown says that Owner is from a frontdoor's memory, for the registry
	// did not answer.
	RegistryDown bool
	// Ways are the attachments.
	Ways []Way
	// Warm is how many proxy connections of the agent are at hand here.
	Warm int
	// Known says that the frontdoor has the route in memory.
	Known bool
	// LostFor is how long ago the last attachment was lost; 0: it is not known.
	LostFor time.Duration
	// Hold is how long visitors wait for an agent that has just gone.
	Hold time.Duration
	// Unsupported is a critical option that is not known here; "": none.
	Unsupported string
}

// Reserved is the reservation that counts for a name: its own or a wildcard's
// above it.
type Reserved struct{ Name, Account string }

// Owner is who has the endpoint.
type Owner struct {
	Agent string
	// Members are the agents of a pool; Agent is none of them.
	Members []string
	// Parked says that the name is kept, and served to nobody.
	Parked bool
	// Policy is what visitors are asked for, a phrase each.
	Policy []string
}

// Way is one attachment.
type Way struct {
	Connector string
	// Current says that its generation is the claim's.
	Current bool
	// Reachable says that the connector has answered, Session that it has the
	// session.
	Reachable, Session bool
	// RTT is the session's last round trip; 0: unknown.
	RTT time.Duration
}

// Verdict is what a visitor would get.
type Verdict struct {
	Served bool
	Status int // of Dialback's own answer; 0: the service's
	Reason errs.Reason
	Text   string
}

// Judge reaches the verdict in the order in which a frontdoor would.
func Judge(f Facts) Verdict {
	switch {
	case f.Owner == nil:
		return f.unowned()
	case f.Owner.Parked:
		return f.own(http.StatusNotFound, errs.ReasonEndpointNotFound, "the name is kept for %s, which does not serve it now", f.Owner.who())
	case f.Unsupported != "":
		return f.own(http.StatusServiceUnavailable, errs.ReasonOptionUnsupported, "this frontdoor does not know the endpoint's option %q", f.Unsupported)
	case f.PortProblem != "":
		return f.own(http.StatusServiceUnavailable, errs.ReasonUnavailable, "this frontdoor cannot listen on the port: %s", f.PortProblem)
	}
	good, bad := sort(f.Ways)
	switch {
	case len(good) > 0:
		return served(f, good)
	case f.Warm > 0:
		return Verdict{Served: true, Text: fmt.Sprintf("would be served by %s over a connection that stands, while no connector is at hand: %s%s",
			f.Owner.who(), strings.Join(bad, "; "), asked(f.Owner))}
	case len(bad) > 0:
		return f.own(http.StatusServiceUnavailable, errs.ReasonAgentOffline, "%s cannot be reached: %s", f.Owner.who(), strings.Join(bad, "; "))
	case f.LostFor > 0 && f.LostFor < f.Hold:
		return f.own(http.StatusServiceUnavailable, errs.ReasonAgentOffline,
			"%s was lost %s ago; a visitor is held until it is back, at most %s more",
			f.Owner.who(), short(f.LostFor), short(f.Hold-f.LostFor))
	case f.LostFor > 0:
		return f.own(http.StatusServiceUnavailable, errs.ReasonAgentOffline,
			"%s was lost %s ago; the name is kept for it, visitors are answered at once", f.Owner.who(), short(f.LostFor))
	}
	return f.own(http.StatusServiceUnavailable, errs.ReasonAgentOffline, "%s has the name and no session", f.Owner.who())
}

// unowned is the verdict on a name that nobody has: who could have it.
func (f Facts) unowned() Verdict {
	why := "nobody has the name " + f.Endpoint
	switch {
	case f.RegistryDown:
		why = fmt.Sprintf("no frontdoor that answers knows %s, and the registry does not answer", f.Endpoint)
	case f.Reserved != nil && f.Reserved.Name == f.Endpoint:
		why += "; it is reserved for account " + f.Reserved.Account
	case f.Reserved != nil:
		why += fmt.Sprintf("; it is reserved for account %s, by %s", f.Reserved.Account, f.Reserved.Name)
	case f.Forbidden != "":
		why += ": " + f.Forbidden
	case f.SeesAll:
		why += "; it is free"
	default:
		why += ", or it is another account's"
	}
	return f.own(http.StatusNotFound, errs.ReasonEndpointNotFound, "%s", why)
}

// sort tells the ways that lead to the agent from those that do not, and says why
// they do not.
func sort(ways []Way) (good []Way, bad []string) {
	for _, w := range ways {
		switch {
		case !w.Current:
			bad = append(bad, "the attachment through "+w.Connector+" is of an earlier owner")
		case !w.Reachable:
			bad = append(bad, "connector "+w.Connector+" does not answer")
		case !w.Session:
			bad = append(bad, "connector "+w.Connector+" has no such session any more")
		default:
			good = append(good, w)
		}
	}
	return good, bad
}

func served(f Facts, ways []Way) Verdict {
	names := make([]string, len(ways))
	for i, w := range ways {
		names[i] = w.Connector
	}
	how := "over a warm connection"
	if f.Warm == 0 {
		how = "after a dial-back"
		if rtt := ways[0].RTT; rtt > 0 {
			how += fmt.Sprintf(" (the agent's round trip is %s)", short(rtt))
		}
	}
	if !f.Known {
		how += ", once the frontdoor has looked the name up"
	}
	slices.Sort(names) // a pool's members may share connectors
	return Verdict{Served: true, Text: fmt.Sprintf("would be served by %s through %s, %s%s",
		f.Owner.who(), strings.Join(slices.Compact(names), " or "), how, asked(f.Owner))}
}

// who is the agent, or the agents of a pool.
func (o *Owner) who() string {
	if len(o.Members) > 0 {
		return fmt.Sprintf("one of %d agents (%s)", len(o.Members), strings.Join(o.Members, ", "))
	}
	return "agent " + o.Agent
}

func asked(o *Owner) string {
	if len(o.Policy) == 0 {
		return ""
	}
	return "; visitors are asked for " + strings.Join(o.Policy, " and ")
}

// own is a visitor's end by Dialback itself: an answer, or on a port a connection
// that is refused or reset.
func (f Facts) own(status int, reason errs.Reason, format string, args ...any) Verdict {
	outcome := fmt.Sprintf("%d because ", status)
	if f.Port {
		status, outcome = 0, "no connection because "
	}
	return Verdict{Status: status, Reason: reason, Text: outcome + fmt.Sprintf(format, args...)}
}

// short writes a duration as people want it.
func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
