// Package gateway is REST for users: it turns JSON into calls of the services,
// which decide what their caller may do. The gateway itself has no rights: it
// passes on the caller's credential and nothing else that the caller has sent.
package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/dialback/dialback/api"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/telemetry"
)

const (
	// maxBody bounds a request's body, in bytes.
	maxBody = 1 << 20
	// callTimeout bounds one call of a service; streams have none.
	callTimeout = 30 * time.Second
)

// Config says whom to believe and how much to take.
type Config struct {
	// Trusted are the networks whose X-Forwarded-For and sampled flag are believed.
	Trusted []netip.Prefix
	// Rate is how many requests one address may make a second; in a burst twice
	// as many.
	Rate int
	// MaxHead bounds a request's line and header, in bytes. The server in front
	// must take a bit more, for it has no answer of this form.
	MaxHead int
}

// Deps is what a gateway works with; all must be set.
type Deps struct {
	// Auth, Registry and Frontdoor are connections to these services. Each checks
	// its caller's own credential, whoever carries it.
	Auth, Registry, Frontdoor grpc.ClientConnInterface
	// Stopping ends streams when it is closed.
	Stopping  <-chan struct{}
	Telemetry *telemetry.Telemetry
	Logger    *slog.Logger
	// Observe is told of each request: the pattern of its path, "" if there is
	// none.
	Observe func(method, pattern string, status int, took time.Duration)
}

// Gateway is the handler of REST.
type Gateway struct {
	cfg    Config
	deps   Deps
	limit  *limiter
	mux    *runtime.ServeMux
	events frontdoorv1.EventServiceClient
	// streams holds a place for each client that watches.
	streams chan struct{}
	tracer  tracer
}

// New returns a gateway.
func New(cfg Config, deps Deps) (*Gateway, error) {
	g := &Gateway{
		cfg: cfg, deps: deps, limit: newLimiter(cfg.Rate),
		events:  frontdoorv1.NewEventServiceClient(carrier{deps.Frontdoor}),
		streams: make(chan struct{}, maxStreams), tracer: newTracer(deps.Telemetry, cfg.Trusted),
	}
	var err error
	g.mux, err = newMux(deps)
	return g, err
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx, span := g.tracer.begin(r)
	defer span.End()
	ctx, seen := newSeen(ctx)
	answer := &answer{ResponseWriter: w}
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler { //nolint:errorlint // net/http's own value
				panic(fault)
			}
			g.deps.Logger.ErrorContext(ctx, "REST: panic", "path", r.URL.Path, "fault", fault)
			if answer.status == 0 {
				writeError(ctx, answer, errInternal)
			}
		}
		g.tracer.end(span, seen.pattern, answer.status)
		g.deps.Observe(method(r), seen.pattern, answer.status, time.Since(began))
	}()
	secure(answer.Header())
	g.route(answer, r.WithContext(ctx))
}

// route answers what needs no service, and refuses what no service should see.
func (g *Gateway) route(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	address := clientAddress(r, g.cfg.Trusted)
	if wait, ok := g.limit.allow(address); !ok {
		writeError(ctx, w, errRate.WithRetry(wait))
		return
	}
	if headOf(r) > g.cfg.MaxHead {
		writeError(ctx, w, errHead)
		return
	}
	if r.URL.Path == "/v1/openapi.json" && r.Method == http.MethodGet {
		pattern(ctx, "/v1/openapi.json")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(api.OpenAPI) // who asked may have gone
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		writeError(ctx, w, err)
		return
	}
	body = ifMatch(r, body)
	own := withCaller(ctx, caller{authorization: r.Header.Get("Authorization"), address: address})
	clean := plain(own, r, body)
	if r.URL.Path == "/v1/events" && r.Method == http.MethodGet {
		pattern(ctx, "/v1/events")
		g.serveEvents(w, clean, r.Header)
		return
	}
	own, cancel := context.WithTimeout(own, callTimeout)
	defer cancel()
	g.mux.ServeHTTP(w, clean.WithContext(own))
}

// headOf is about how many bytes a request's line and header were.
func headOf(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(value) + len(": \r\n")
		}
	}
	return n
}

// plain returns the request with nothing of it left but what the mux works
// with: no header of a client becomes metadata, a timeout or another method.
func plain(ctx context.Context, r *http.Request, body []byte) *http.Request {
	clean := r.Clone(ctx)
	clean.Header = http.Header{"Content-Type": {"application/json"}}
	clean.Body = io.NopCloser(bytes.NewReader(body))
	clean.ContentLength = int64(len(body))
	clean.RemoteAddr, clean.Host = "", ""
	return clean
}

// secure sets what keeps browsers out: REST is for programs, and there is
// nothing here that a page should read, frame or guess the type of.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// clientAddress is where a request comes from: the connection's address or, as
// far as trusted proxies vouch for it, the last one that they have seen.
func clientAddress(r *http.Request, trusted []netip.Prefix) string {
	at, ok := parseAddress(r.RemoteAddr)
	if !ok {
		return ""
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && contain(trusted, at); i-- {
		hop, ok := parseAddress(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		at = hop
	}
	return at.String()
}

func parseAddress(text string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	ip, err := netip.ParseAddr(text)
	return ip.Unmap().WithZone(""), err == nil
}

func contain(networks []netip.Prefix, ip netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// method keeps the values of a label few, whatever clients invent.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete:
		return r.Method
	}
	return "other"
}

// readBody reads the whole of a body that is small enough and JSON by its type.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request's body did not arrive whole").WithCause(err)
	case len(body) > 0 && !isJSON(r.Header.Get("Content-Type")):
		return nil, errMediaType
	}
	return body, nil
}
