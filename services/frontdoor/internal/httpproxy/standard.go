package httpproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	maxAttempts = 2
	maxStarts   = 8 // on connections that are found to have ended
	idlePerKey  = 256
)

// Standard is the engine made of net/http's parsers. Its connections are its own,
// not http.Transport's, which pushes a connection back before it can be known
// whether bytes stand behind the answer, and gives up on an answer when the
// request cannot be written to its end. So is the passing on: httputil.ReverseProxy
// copies a request and its headers several times, and cannot tell when to flush.
type Standard struct {
	answerTimeout time.Duration
	keep          func(*dialback.Conn)
	pool          *pool
	retries       *retries
}

// NewStandard returns the engine. keep takes proxy connections whose exchange
// has ended.
func NewStandard(cfg Config, keep func(*dialback.Conn)) *Standard {
	return &Standard{
		answerTimeout: cfg.AnswerTimeout, keep: keep,
		pool: newPool(cfg.IdlePrivate, idlePerKey), retries: newRetries(),
	}
}

// carriedCall is a call on its way, and where its answer goes.
type carriedCall struct {
	*Call
	w       http.ResponseWriter
	visitor *http.ResponseController
}

func (c *carriedCall) flush() { _ = c.visitor.Flush() } // an error comes again with the next write

// Serve implements Engine.
func (e *Standard) Serve(w http.ResponseWriter, call *Call) error {
	out, err := newOutbound(call.In)
	if err != nil {
		return err
	}
	call.Rewrite(out.header)
	c := &carriedCall{Call: call, w: w, visitor: http.NewResponseController(w)}
	if out.body != nil {
		// Answers come while the body goes: an early one must not wait for it.
		_ = c.visitor.EnableFullDuplex() // HTTP/2 always is, and says that it cannot
	}
	res, err := e.roundTrip(out, c)
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return c.switchProtocols(out, res)
	}
	c.writeAnswer(res)
	return nil
}

// ForgetVisitor implements Engine. Few visitors have something of their own.
func (e *Standard) ForgetVisitor(v *Visitor) {
	if keys := v.ties(); len(keys) > 0 {
		e.pool.forget(keys)
	}
}

// Close implements Engine.
func (e *Standard) Close() { e.pool.close() }

// roundTrip returns the answer's head, of the first attempt that has one.
func (e *Standard) roundTrip(out *outbound, call *carriedCall) (*http.Response, error) {
	defer call.Trip.Started()
	ctx := call.Context
	var body *replayBody
	if out.body != nil {
		body = newReplayBody(call.In, out.body)
	}
	e.retries.request(call.Trip.Route.Claim.Hostname)
	for attempt := 1; ; {
		res, counts, err := e.attempt(ctx, out, call, body, attempt)
		if err == nil {
			if body != nil {
				body.commit()
			}
			return res, nil
		}
		if counts {
			attempt++
		}
		if attempt > maxAttempts || ctx.Err() != nil {
			return nil, err
		}
		if again := repeatable(err, out); !again && !(reach.Unwilling(err) && call.Trip.Refused()) {
			return nil, err
		} else if again {
			call.Trip.Another() // where there are several
		}
		if counts && !e.retries.spend(call.Trip.Route.Claim.Hostname) {
			return nil, err
		}
	}
}

// attempt sends the request once. counts is false if a connection that had been
// idle was found dead before it left, or took it and was not there: that is no
// attempt, and there are only so many idle ones.
func (e *Standard) attempt(ctx context.Context, out *outbound, call *carriedCall, body *replayBody, n int) (res *http.Response, counts bool, err error) {
	req, ok := out.attempt(body)
	if !ok {
		return nil, true, errNotRepeatable
	}
	p, err := e.connection(ctx, call, out.header, n)
	if err != nil {
		return nil, true, err
	}
	call.Trip.Started()
	used := p.served > 0 || p.unproven
	call.Connected(p.served, p.born, p.conn.Via)
	res, err = p.roundTrip(ctx, req, call.Trace(req.header, p.key.agent.ID), e, call)
	var f *failure
	stale := used && errors.As(err, &f) && f.unsent || errors.Is(err, proxyconn.ErrAckTimeout)
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
	for tries := 1; ; tries++ {
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
		if err != nil {
			conn.Discard() // it has ended this moment, and nobody has been told of the visitor
			if tries < maxStarts && ctx.Err() == nil {
				continue
			}
			return nil, err
		}
		k := keyOf(r)
		k.visitor = tied
		p := newPrivate(k, conn, ex, trace.SpanContextFromContext(ctx), e.keep)
		p.unproven = conn.Stale()
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
func repeatable(err error, out *outbound) bool {
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
func harmlessTwice(r *outbound) bool {
	switch r.in.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return r.body == nil
	}
	return false
}
