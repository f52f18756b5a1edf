package errpage

import "github.com/dialback/dialback/internal/errs"

// The stations on a request's way. The leg that failed leads to one of them.
const (
	atVisitor = iota
	atServer
	atAgent
	atService
)

var stations = [...]string{"You", "Dialback", "The agent", "The service"}

// advice is what can be said of a code.
type advice struct {
	status int
	failed int // the station that was not reached, or that said no
	Title  string
	Leg    string // which leg failed, in plain words
	You    string // what the visitor can do
	Owner  string // what the endpoint's owner can do
}

// way says how far the request came.
func (a advice) way() []stop {
	stops := make([]stop, len(stations))
	for i, name := range stations {
		switch {
		case i < a.failed:
			stops[i] = stop{Name: name, State: "ok"}
		case i == a.failed:
			stops[i] = stop{Name: name, State: "failed", Failed: true}
		default:
			stops[i] = stop{Name: name, State: "unknown"}
		}
	}
	return stops
}

const (
	toServer  = "Your request reached Dialback, and ended there."
	toAgent   = "Dialback could not reach the agent that serves this address."
	toService = "Dialback and its agent are connected; the agent could not get an answer from the service behind it."
)

var advices = map[errs.Reason]advice{
	errs.ReasonEndpointNotFound: {
		404, atServer, "There is nothing at this address", toServer,
		"Check the address for typing errors. If somebody gave it to you, ask whether it has changed.",
		"Start the agent, and compare the URL it prints with this one.",
	},
	errs.ReasonAgentOffline: {
		503, atAgent, "This endpoint is offline", toAgent,
		"Try again in a few seconds. The agent reconnects by itself when it can.",
		"Check that the agent is running and can reach this server; its log says what it is waiting for.",
	},
	errs.ReasonDialbackTimeout: {
		504, atAgent, "The agent did not answer in time", toAgent,
		"Try again in a few seconds.",
		"The agent was asked for a connection and none came. Its log says which address it could not reach.",
	},
	errs.ReasonUpstreamRefused: {
		502, atService, "The service does not accept connections", toService,
		"Try again later, or tell whoever runs the service.",
		"Start the service, and check the address that the agent forwards to. The agent's log names it.",
	},
	errs.ReasonUpstreamTimeout: {
		504, atService, "The service did not answer in time", toService,
		"Try again later, or tell whoever runs the service.",
		"Check that the service is not stuck or overloaded. The agent's log names the address.",
	},
	errs.ReasonUpstreamBadReply: {
		502, atService, "The service's answer could not be used", toService,
		"Try again later, or tell whoever runs the service.",
		"The service closed the connection early or did not speak HTTP. Check that the agent forwards to the right port, and whether the service wants https.",
	},
	errs.ReasonPolicyDenied: {
		403, atServer, "You may not use this endpoint", toServer,
		"Ask the owner of this endpoint for access.",
		"The endpoint's own policy has refused this request.",
	},
	errs.ReasonAuthRequired: {
		401, atServer, "This endpoint wants a password", toServer,
		"Reload the page and enter the user name and password that you were given.",
		"The credentials are those that the tunnel was started with.",
	},
	errs.ReasonRateLimited: {
		429, atServer, "Too many attempts", toServer,
		"Wait a little before you try again.",
		"Someone has tried many wrong passwords here.",
	},
	errs.ReasonQuotaExceeded: {
		429, atServer, "Too many visitors at this moment", toServer,
		"Try again in a few seconds.",
		"All endpoints of your account together have as many visitors as its quota allows. Ask an administrator of this server for more.",
	},
	errs.ReasonOverloaded: {
		503, atServer, "Too many requests at this moment", toServer,
		"Try again in a few seconds.",
		"A limit for this endpoint, its agent or this server was reached. The server's log says which one.",
	},
	errs.ReasonOptionUnsupported: {
		503, atServer, "This endpoint cannot be served here yet", toServer,
		"Try again later.",
		"The tunnel asks for an option that this server does not know. Upgrade the server, or start the tunnel without it.",
	},
	errs.ReasonInvalidArgument: {
		400, atVisitor, "This request could not be understood", "Your request was not forwarded.",
		"If you see this in a browser, try a private window. If you wrote the client, check the request line and the Host header.",
		"The request did not get as far as your endpoint.",
	},
	errs.ReasonInternal: {
		500, atServer, "Something went wrong here", toServer,
		"Try again later.",
		"The server's log has a line with this trace id.",
	},
}
