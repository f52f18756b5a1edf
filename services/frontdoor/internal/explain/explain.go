// Package explain judges what is known of an endpoint: what a visitor would get
// now, and why, in words.
package explain

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/errs"
)

// Facts is what the nodes have said of an endpoint.
type Facts struct {
	Endpoint string
	// Owner is the endpoint's claim; nil: nobody has it.
	Owner *Owner
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

// Owner is who has the endpoint.
type Owner struct {
	Agent string
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
	case f.Owner == nil && f.RegistryDown:
		return own(http.StatusNotFound, errs.ReasonEndpointNotFound,
			"no frontdoor that answers knows %s, and the registry does not answer", f.Endpoint)
	case f.Owner == nil:
		return own(http.StatusNotFound, errs.ReasonEndpointNotFound, "nobody has the name %s", f.Endpoint)
	case f.Owner.Parked:
		return own(http.StatusNotFound, errs.ReasonEndpointNotFound, "the name is kept for agent %s, which does not serve it now", f.Owner.Agent)
	case f.Unsupported != "":
		return own(http.StatusServiceUnavailable, errs.ReasonOptionUnsupported, "this frontdoor does not know the endpoint's option %q", f.Unsupported)
	}
	good, bad := sort(f.Ways)
	switch {
	case len(good) > 0:
		return served(f, good)
	case f.Warm > 0:
		return Verdict{Served: true, Text: fmt.Sprintf("would be served by agent %s over a connection that stands, while none of its connectors is at hand: %s%s",
			f.Owner.Agent, strings.Join(bad, "; "), asked(f.Owner))}
	case len(bad) > 0:
		return own(http.StatusServiceUnavailable, errs.ReasonAgentOffline, "agent %s cannot be reached: %s", f.Owner.Agent, strings.Join(bad, "; "))
	case f.LostFor > 0 && f.LostFor < f.Hold:
		return own(http.StatusServiceUnavailable, errs.ReasonAgentOffline,
			"agent %s was lost %s ago; a request is held until it is back, at most %s more",
			f.Owner.Agent, short(f.LostFor), short(f.Hold-f.LostFor))
	case f.LostFor > 0:
		return own(http.StatusServiceUnavailable, errs.ReasonAgentOffline,
			"agent %s was lost %s ago; the name is kept for it, requests are answered at once", f.Owner.Agent, short(f.LostFor))
	}
	return own(http.StatusServiceUnavailable, errs.ReasonAgentOffline, "agent %s has the name and no session", f.Owner.Agent)
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
	return Verdict{Served: true, Text: fmt.Sprintf("would be served by agent %s through %s, %s%s",
		f.Owner.Agent, strings.Join(names, " or "), how, asked(f.Owner))}
}

func asked(o *Owner) string {
	if len(o.Policy) == 0 {
		return ""
	}
	return "; visitors are asked for " + strings.Join(o.Policy, " and ")
}

func own(status int, reason errs.Reason, format string, args ...any) Verdict {
	return Verdict{Status: status, Reason: reason, Text: fmt.Sprintf("%d because ", status) + fmt.Sprintf(format, args...)}
}

// short writes a duration as people want it.
func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
