// Package forward brings visitors to the local service: for each exchange of a
// proxy connection it opens a private connection and joins the two.
package forward

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent/spans"
	"github.com/dialback/dialback/internal/proxyconn"
)

// dialTimeout is how long a local service may take to accept a connection.
const dialTimeout = 5 * time.Second

// Forwarder serves the tunnels of this process, and no others.
type Forwarder struct {
	spans  *spans.Recorder
	report *reporter

	mu      sync.Mutex
	tunnels map[string]Upstream
}

// New returns a Forwarder that serves nothing yet. The reports tell the agent's
// owner about local services; they come one at a time and must not block.
func New(recorder *spans.Recorder, reports func(Report)) *Forwarder {
	return &Forwarder{spans: recorder, report: newReporter(reports), tunnels: map[string]Upstream{}}
}

// Register serves a tunnel from now on. It comes before the tunnel is asked for:
// a visitor may be here before the answer is.
func (f *Forwarder) Register(tunnelID string, to Upstream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tunnels[tunnelID] = to
}

// Unregister refuses the tunnel's visitors from now on.
func (f *Forwarder) Unregister(tunnelID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tunnels, tunnelID)
}

func (f *Forwarder) upstream(tunnelID string) (Upstream, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	up, ok := f.tunnels[tunnelID]
	return up, ok
}

// Handler returns what serves the exchanges of a proxy connection that came
// about with this dial-back.
func (f *Forwarder) Handler(dialback spans.Span) proxyconn.Handler {
	return func(ctx context.Context, e *proxyconn.ClientExchange) {
		f.serve(ctx, e, dialback)
	}
}

func (f *Forwarder) serve(ctx context.Context, e *proxyconn.ClientExchange, dialback spans.Span) {
	start := e.Start()
	up, known := f.upstream(start.GetTunnelId())
	switch {
	case !known:
		_ = e.Refuse(proxyv1.Code_CODE_TUNNEL_UNKNOWN)
		return
	case len(start.GetCritical()) > 0: // there is none yet that this release knows
		_ = e.Refuse(proxyv1.Code_CODE_UNSUPPORTED)
		return
	}
	span := f.spans.Start("private.connect", trace.SpanKindClient, start.GetTrace(), dialback)
	span.String("server.address", up.Address)
	began := time.Now()
	private, err := up.dial(ctx, dialTimeout)
	if err != nil {
		code := codeOf(err)
		if ctx.Err() == nil { // else it is the visitor who has gone
			f.report.failed(up, code, err)
		}
		span.Fail(code.String())
		span.End()
		_ = e.Refuse(code)
		return
	}
	span.End()
	f.report.worked(up)
	if err := e.Accept(time.Since(began)); err != nil {
		_ = private.Close()
		return
	}
	// What ends an exchange is the frontdoor's to tell; here it is in the spans.
	_ = e.Pipe(private, newRequests(f.spans, dialback))
}

func codeOf(err error) proxyv1.Code {
	switch {
	case errors.Is(err, errUpstreamTLS):
		return proxyv1.Code_CODE_UPSTREAM_TLS
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return proxyv1.Code_CODE_UPSTREAM_TIMEOUT
	default:
		return proxyv1.Code_CODE_UPSTREAM_REFUSED
	}
}
