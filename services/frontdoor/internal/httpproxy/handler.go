package httpproxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/frontdoor/internal/basicauth"
	"github.com/dialback/dialback/services/frontdoor/internal/errpage"
	"github.com/dialback/dialback/services/frontdoor/internal/quota"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// Config is how requests are served.
type Config struct {
	// Trusted are the networks whose forwarded headers and sampled flag count.
	Trusted Networks
	// AnswerTimeout is how long a service may take from the end of a request to
	// the head of its answer; 0: for ever.
	AnswerTimeout time.Duration
	// IdlePrivate is how long a private connection is kept between two requests.
	IdlePrivate time.Duration
	// MaxRequests bounds the requests under way, MaxRequestsEndpoint those of one
	// endpoint.
	MaxRequests, MaxRequestsEndpoint int
}

// Deps are what a Handler works with.
type Deps struct {
	Finder *reach.Finder
	Engine Engine
	// Quota counts visitors in, by the account of their endpoint.
	Quota *quota.Quota
	// Progress says how far the routes have followed the registry.
	Progress func() (route.Position, time.Duration)
	// Covers says whether the certificate for one name is good for another.
	Covers func(sni, host string) bool
	// MACKey is the key of trace MACs; empty until it is known.
	MACKey func() []byte
	// Observe is told of each request that is over: its status (0: none was
	// written), the reason of an answer of our own or "", and what it took.
	Observe func(status int, reason errs.Reason, took time.Duration)
	// Reused is told of each request that found a private connection bound.
	Reused func()
	// Now is the clock by which guessing passwords is slowed down.
	Now       func() time.Time
	Telemetry *telemetry.Telemetry
	Logger    *slog.Logger
}

// Handler serves visitors' requests.
type Handler struct {
	cfg    Config
	deps   Deps
	trace  *tracing
	auth   *basicauth.Checker
	limits *limits
	log    *slog.Logger
}

// New returns a handler.
func New(cfg Config, deps Deps) *Handler {
	return &Handler{
		cfg: cfg, deps: deps, auth: basicauth.New(deps.Now), log: deps.Logger,
		limits: newLimits(cfg.MaxRequestsEndpoint, cfg.MaxRequests),
		trace: &tracing{
			tracer:     deps.Telemetry.Tracer.Tracer("github.com/dialback/dialback/services/frontdoor"),
			propagator: deps.Telemetry.Propagator, trusted: cfg.Trusted, macKey: deps.MACKey,
		},
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx, span := h.trace.begin(r)
	defer span.End()
	if ambiguous(r) {
		w.Header().Set("Connection", "close")
	}
	rec := &recorder{ResponseWriter: w}
	defer func() {
		crash := recover()
		if ctx.Err() != nil || crash != nil {
			visitorOf(ctx).aborted(time.Now())
		}
		h.account(ctx, span, r, rec, began, crash)
		if crash != nil {
			panic(crash)
		}
	}()
	if err := h.serve(ctx, rec, r); err != nil {
		h.fail(ctx, rec, r, err)
	}
}

// serve forwards the request, or says why not, with nothing written.
func (h *Handler) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) (err error) {
	host, err := h.check(r)
	if err != nil {
		return err
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.String("http.route", host))
	}
	if err := h.limits.enter(host); err != nil {
		return err
	}
	defer h.limits.leave(host)
	trip, err := h.find(ctx, host)
	if err != nil {
		return err
	}
	defer func() { trip.Done(reach.Unwilling(err)) }()
	leave, err := h.deps.Quota.Enter(&trip.Route.Claim)
	if err != nil {
		return err
	}
	defer leave()
	stripped, err := h.admit(ctx, &trip.Route.Claim, r)
	if err != nil {
		return err
	}
	return h.deps.Engine.Serve(w, &Call{
		Context: ctx, In: r, Trip: trip, Visitor: visitorOf(ctx), ClientAddress: r.RemoteAddr,
		Rewrite: func(out http.Header) { h.rewrite(out, r, stripped) },
		Trace: func(header http.Header, agentID string) *proxyv1.Req {
			return h.trace.forAgent(ctx, header, agentID)
		},
		Connected: func(served int, born trace.SpanContext, via string) {
			if served > 0 {
				h.deps.Reused()
			}
			connected(trace.SpanFromContext(ctx), served, born, via)
		},
	})
}

func (h *Handler) find(ctx context.Context, host string) (*reach.Trip, error) {
	began := time.Now()
	trip, err := h.deps.Finder.Begin(ctx, host)
	position, age := h.deps.Progress()
	h.trace.lookup(ctx, began, trip, position.Revision, age, err)
	if err != nil {
		return nil, err
	}
	if trip.Route.Claim.Protocol != route.ProtocolHTTP {
		trip.Started()
		return nil, refuse(http.StatusMisdirectedRequest, "this endpoint does not speak HTTP with visitors")
	}
	return trip, nil
}

// rewrite makes the headers for the service. What is for one hop was taken off.
func (h *Handler) rewrite(out http.Header, in *http.Request, stripped bool) {
	removeOwn(out)
	out.Del("Baggage")
	removeForwarded(out)
	if h.cfg.Trusted.Contain(in.RemoteAddr) {
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded"} {
			if values := in.Header.Values(name); len(values) > 0 {
				out[http.CanonicalHeaderKey(name)] = values[:len(values):len(values)]
			}
		}
	}
	setForwarded(out, in)
	if stripped {
		out.Del("Authorization")
	}
}

// fail answers with an error page.
func (h *Handler) fail(ctx context.Context, w *recorder, r *http.Request, err error) {
	if ctx.Err() != nil {
		return // nobody is there to read it
	}
	e := explain(err)
	status := 0
	var refused *refusal
	if errors.As(err, &refused) {
		status = refused.status
	}
	w.reason, w.cause = e.Reason(), err
	if errors.Is(e, basicauth.ErrRequired) {
		w.Header().Set("WWW-Authenticate", `Basic realm="Dialback", charset="UTF-8"`)
	}
	errpage.Write(w, r, errpage.Problem{Err: e, TraceID: traceID(ctx), Host: r.Host, Status: status})
}

// account closes the request's books: span and one line of log.
func (h *Handler) account(ctx context.Context, span trace.Span, r *http.Request, w *recorder, began time.Time, crash any) {
	if w.status != 0 && span.IsRecording() {
		span.SetAttributes(attribute.Int("http.response.status_code", w.status))
	}
	level, outcome := judge(ctx, span, w, crash)
	took := time.Since(began)
	if h.log.Enabled(ctx, level) {
		h.log.LogAttrs(ctx, level, "request", append([]slog.Attr{
			slog.String("method", methodName(r.Method)), slog.String("host", r.Host),
			slog.String("client", r.RemoteAddr), slog.Int("status", w.status),
			slog.Int64("bytes", w.bytes), slog.Duration("took", took),
		}, outcome...)...)
	}
	h.deps.Observe(w.status, w.reason, took)
}

// judge says how a request that is over has ended, to the span and for the log.
func judge(ctx context.Context, span trace.Span, w *recorder, crash any) (slog.Level, []slog.Attr) {
	switch {
	case crash != nil && crash != http.ErrAbortHandler: //nolint:errorlint // a panic value, compared as net/http does
		span.SetStatus(codes.Error, "panic")
		return slog.LevelError, []slog.Attr{slog.Any("panic", crash)}
	case ctx.Err() != nil:
		return slog.LevelDebug, []slog.Attr{slog.Bool("visitor_gone", true)}
	case crash != nil:
		w.reason = errs.ReasonUpstreamBadReply
		span.SetStatus(codes.Error, "the answer broke off")
		return slog.LevelWarn, []slog.Attr{slog.String("code", string(w.reason)), slog.String("error", "the answer broke off")}
	case w.reason == "":
		return slog.LevelDebug, nil
	}
	level := slog.LevelDebug
	if w.status >= 500 {
		level = slog.LevelWarn
		span.SetStatus(codes.Error, string(w.reason))
	}
	span.SetAttributes(attribute.String("dialback.error", string(w.reason)))
	return level, []slog.Attr{slog.String("code", string(w.reason)), slog.Any("error", w.cause)}
}
