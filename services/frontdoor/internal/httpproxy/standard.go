package httpproxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	maxAttempts = 2
	idlePerKey  = 256
)

// Standard is the engine made of net/http's parts. Its connections are its own,
// not http.Transport's, which pushes a connection back before it can be known
// whether bytes stand behind the answer, and gives up on an answer when the
// request cannot be written to its end.
type Standard struct {
	answerTimeout time.Duration
	keep          func(*dialback.Conn)
	pool          *pool
	retries       *retries
	proxy         *httputil.ReverseProxy
}

// NewStandard returns the engine. keep takes proxy connections whose exchange
// has ended.
func NewStandard(cfg Config, keep func(*dialback.Conn), log *slog.Logger) *Standard {
	e := &Standard{
		answerTimeout: cfg.AnswerTimeout, keep: keep,
		pool: newPool(cfg.IdlePrivate, idlePerKey), retries: newRetries(),
	}
	e.proxy = &httputil.ReverseProxy{
		Rewrite:    rewrite,
		Transport:  e,
		BufferPool: buffers{},
		ErrorLog:   slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			carried(r.Context()).err = err
		},
	}
	return e
}

// carriedCall is a call on its way through ReverseProxy.
type carriedCall struct {
	*Call
	visitor *http.ResponseController
	err     error
}

func (c *carriedCall) flush() { _ = c.visitor.Flush() } // an error comes again with the next write

type carriedKey struct{}

func carried(ctx context.Context) *carriedCall {
	return ctx.Value(carriedKey{}).(*carriedCall)
}

// Serve implements Engine.
func (e *Standard) Serve(w http.ResponseWriter, call *Call) error {
	c := &carriedCall{Call: call, visitor: http.NewResponseController(w)}
	// Answers come while the body goes: an early one must not wait for it.
	_ = c.visitor.EnableFullDuplex() // HTTP/2 always is, and says that it cannot
	e.proxy.ServeHTTP(w, call.In.WithContext(context.WithValue(call.In.Context(), carriedKey{}, c)))
	return c.err
}

// ForgetVisitor implements Engine.
func (e *Standard) ForgetVisitor(v *Visitor) { e.pool.forget(v) }

// Close implements Engine.
func (e *Standard) Close() { e.pool.close() }

// rewrite makes the request that the service gets: the same line and Host, byte
// for byte.
func rewrite(r *httputil.ProxyRequest) {
	r.Out.Host = r.In.Host
	r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
	r.Out.URL.RawQuery, r.Out.URL.ForceQuery = r.In.URL.RawQuery, r.In.URL.ForceQuery
	path, _, _ := strings.Cut(r.In.RequestURI, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		r.Out.URL.Opaque = path // as it was written, not as it would be written again
	}
	if r.In.ContentLength < 0 {
		r.Out.TransferEncoding = []string{"chunked"}
	}
	carried(r.In.Context()).Rewrite(r.Out.Header)
}

// flushedByProxy holds for answers that ReverseProxy passes on byte by byte, from
// a goroutine of its own too: nobody else may flush them.
func flushedByProxy(res *http.Response) bool {
	if res.ContentLength < 0 {
		return true
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return kind == "text/event-stream"
}

// RoundTrip implements http.RoundTripper for ReverseProxy.
func (e *Standard) RoundTrip(out *http.Request) (*http.Response, error) {
	call := carried(out.Context())
	defer call.Trip.Started()
	var body *replayBody
	if out.Body != nil && out.Body != http.NoBody {
		body = newReplayBody(call.In, out.Body)
	}
	e.retries.request(call.Trip.Route.Claim.Hostname)
	for attempt := 1; ; {
		res, counts, err := e.attempt(out, call, body, attempt)
		if err == nil {
			if body != nil {
				body.commit()
			}
			return res, nil
		}
		if counts {
			attempt++
		}
		if attempt > maxAttempts || out.Context().Err() != nil || !repeatable(err, out) {
			return nil, err
		}
		if counts && !e.retries.spend(call.Trip.Route.Claim.Hostname) {
			return nil, err
		}
	}
}

// attempt sends the request once. counts is false if it did not leave because a
// connection that had been idle was found dead: that is no attempt, and there
// are only so many idle ones.
func (e *Standard) attempt(out *http.Request, call *carriedCall, body *replayBody, n int) (res *http.Response, counts bool, err error) {
	ctx := out.Context()
	req := *out
	if body != nil {
		// A failed attempt may still be at its body, and so at these, when the next begins.
		req.Header, req.Trailer = out.Header.Clone(), out.Trailer.Clone()
		if req.Body = body.from(req.Trailer); req.Body == (io.ReadCloser)(nil) {
			return nil, true, errNotRepeatable
		}
	}
	p, err := e.connection(ctx, call, out.Header, n)
	if err != nil {
		return nil, true, err
	}
	call.Trip.Started()
	used := p.served > 0
	call.Connected(p.served, p.born, p.conn.Via)
	res, err = p.roundTrip(ctx, &req, call.Trace(req.Header, p.key.agent.ID), passageOptions{
		answerTimeout: e.answerTimeout,
		inspect: func(res *http.Response) {
			if challenges(res.Header) {
				p.key = call.Visitor.tie(p.key)
			}
		},
		settled: e.settled,
		flush:   call.flush,
	})
	var f *failure
	stale := used && errors.As(err, &f) && f.unsent
	return res, !stale, err
}

// connection returns a private connection for the call's nth attempt. Where one
// idle connection has failed the others are not better: a service closes all of
// one age at a time.
func (e *Standard) connection(ctx context.Context, call *carriedCall, header http.Header, n int) (*private, error) {
	k := call.Visitor.keyFor(keyOf(call.Trip.Route))
	if authenticatesConnection(header["Authorization"]) {
		k = call.Visitor.tie(k)
	}
	get := e.pool.get
	if n > 1 {
		get = e.pool.await
	}
	return get(ctx, k, func(ctx context.Context) (*private, error) {
		defer call.Trip.Started() // its request may be over already
		return e.dial(ctx, call, k.visitor)
	})
}

// dial has the agent make a private connection, on a proxy connection that is
// at hand or that it dials back.
func (e *Standard) dial(ctx context.Context, call *carriedCall, tied *Visitor) (*private, error) {
	for {
		conn, r, err := call.Trip.Connect(ctx)
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			e.keep(conn) // it has served nobody yet: it is as good for the next one
			return nil, context.Cause(ctx)
		}
		// From here on it costs less to have it and keep it than to give it up.
		begun := context.WithoutCancel(ctx)
		ex, err := conn.Start(begun, startOf(call.Call, &r.Claim))
		if err == nil && conn.Stale() {
			// It may have died unnoticed. A request must not be what finds out.
			err = ex.AwaitAck(begun) // not for long: ErrAckTimeout
		}
		if err != nil {
			stale := conn.Stale()
			conn.Discard()
			if stale && ctx.Err() == nil {
				continue
			}
			return nil, err
		}
		k := keyOf(r)
		k.visitor = tied
		p := newPrivate(k, conn, ex, trace.SpanContextFromContext(ctx), e.keep)
		conn.Serve(r.Claim.TunnelID, use{e.pool, p})
		return p, nil
	}
}

func startOf(call *Call, c *route.Claim) *proxyv1.Start {
	return &proxyv1.Start{
		TunnelId: c.TunnelID, Url: publicURL(call.In), Protocol: proxyv1.Protocol_PROTOCOL_HTTP,
		ClientAddress: call.ClientAddress, Trace: call.Trace(nil, c.Agent.ID).GetTrace(),
	}
}

// settled is called when a connection's answer is over.
func (e *Standard) settled(p *private, reusable bool) {
	if reusable {
		e.pool.put(p)
		return
	}
	p.release()
}

var errNotRepeatable = errors.New("the request's body cannot be sent again")

// repeatable holds if the request may be sent again on another connection: if
// there is proof that none of it has reached the service, or, after a loss, if
// HTTP says that doing it twice is doing it once.
func repeatable(err error, out *http.Request) bool {
	var f *failure
	if !errors.As(err, &f) || !f.unsent && !isLoss(f.err) {
		return false
	}
	return !f.delivered || harmlessTwice(out)
}

// isLoss tells errors that another connection may not have from those that it
// would have as well.
func isLoss(err error) bool {
	var lost *proxyconn.LostError
	var reset *proxyconn.ResetError
	switch {
	case errors.As(err, &reset):
		return !reset.Local && reset.Code != proxyv1.Code_CODE_LIMIT
	case errors.As(err, &lost), errors.Is(err, proxyconn.ErrUnsolicited), errors.Is(err, proxyconn.ErrRetired):
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errIdleTimeout)
}

// harmlessTwice holds for methods that HTTP calls idempotent, without a body.
func harmlessTwice(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return r.Body == nil || r.Body == http.NoBody
	}
	return false
}
