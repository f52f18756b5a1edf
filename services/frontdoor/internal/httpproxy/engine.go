// Package httpproxy serves HTTP visitors: it checks a request, finds its
// endpoint's tunnel, and has an engine carry it there and the answer back.
package httpproxy

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
)

// Engine carries requests to tunnels. It is an interface of ours so that another
// one can take the place of net/http's parser and writer.
type Engine interface {
	// Serve answers the request by the tunnel's service. An error means that
	// nothing has been written to w; an answer that breaks off in its middle is
	// told to the visitor by panicking with http.ErrAbortHandler.
	Serve(w http.ResponseWriter, call *Call) error
	// ForgetVisitor ends what was tied to a public connection that has closed.
	ForgetVisitor(v *Visitor)
	// Close ends all idle private connections, and each other one when it is idle.
	Close()
}

// Call is one request on its way.
type Call struct {
	// Context is the request's, with its span. It ends when the visitor has gone.
	Context context.Context
	// In is the visitor's request, judged and found good.
	In      *http.Request
	Trip    *reach.Trip
	Visitor *Visitor
	// ClientAddress is the visitor's "host:port".
	ClientAddress string
	// Rewrite makes the headers that the service is to see.
	Rewrite func(header http.Header)
	// Trace writes the trace into an attempt's headers and returns what the agent
	// gets to know of it.
	Trace func(header http.Header, agentID string) *proxyv1.Req
	// Connected is told of the private connection that the request got: which
	// request on it this is, the context of the span that had it dialled, and the
	// frontdoor that relays it, if one does.
	Connected func(served int, born trace.SpanContext, via string)
}
