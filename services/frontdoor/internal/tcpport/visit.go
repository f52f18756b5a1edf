package tcpport

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	maxAttempts = 2
	maxStarts   = 8 // on connections that are found to have ended
	// answerWithin is how long an agent has to reach its service: longer than it
	// takes to give up.
	answerWithin = 15 * time.Second
)

// errNotTCP: somebody has bound a port's name to another protocol.
var errNotTCP = errs.New(errs.FailedPrecondition, errs.ReasonOptionUnsupported, "this port's endpoint is not of protocol tcp")

// errGone: the visitor has left before there was a connection for it.
var errGone = errors.New("the visitor has gone")

// Visit is a connection that is over.
type Visit struct {
	// Reason is why there was no way to the service, or how the connection broke
	// off; empty: both ends closed it in order.
	Reason string
	// Served says that it reached the service.
	Served bool
	// In and Out are the bytes from and to the visitor.
	In, Out uint64
	// Setup is what it took to reach the service, or to give up; Took is all of it.
	Setup, Took time.Duration
}

// serve serves one visitor's connection.
func (p *Ports) serve(ctx context.Context, c *ingress.Conn, name string) {
	began := time.Now()
	ctx, span := p.trace.begin(ctx, c, name)
	s, err := p.connect(ctx, c, name)
	v := Visit{Setup: time.Since(began)}
	if err != nil {
		reset(c)
		e := explain(err)
		v.Reason, v.Took = e, v.Setup
		span.fail(e)
		p.account(ctx, v, c, name, err)
		return
	}
	span.connected(s)
	s.run()
	s.leave()
	p.streams.remove(s)
	v.Served, v.In, v.Out, v.Took = true, s.ex.Sent(), s.ex.Received(), time.Since(began)
	v.Reason = s.reason()
	span.closed(v)
	p.account(ctx, v, c, name, s.ex.Outcome().Err)
}

// account writes one line of log, and counts.
func (p *Ports) account(ctx context.Context, v Visit, c *ingress.Conn, name string, err error) {
	level := slog.LevelDebug
	if !v.Served && !errors.Is(err, errGone) && ctx.Err() == nil {
		level = slog.LevelWarn
	}
	p.log.LogAttrs(ctx, level, "tcp connection",
		slog.String("endpoint", name), slog.String("client", c.RemoteAddr().String()), slog.String("code", v.Reason),
		slog.Uint64("bytes_in", v.In), slog.Uint64("bytes_out", v.Out), slog.Duration("took", v.Took), slog.Any("error", err))
	p.deps.Observe(v)
}

// explain is an error of connect as metrics, spans and the log have it.
func explain(err error) string {
	if errors.Is(err, errGone) || errors.Is(err, context.Canceled) {
		return "VISITOR_GONE"
	}
	if e := reach.Explain(err); e != nil {
		return string(e.Reason())
	}
	return string(errs.ReasonAgentOffline)
}

// connect finds the way to the endpoint's service. What the visitor says goes
// along with it, without waiting.
func (p *Ports) connect(ctx context.Context, c *ingress.Conn, name string) (*stream, error) {
	if !p.streams.enter(p.cfg.MaxConns) {
		return nil, errOverloaded
	}
	s := &stream{conn: c, up: upload{conn: c}, keep: p.deps.Keep, leave: func() {}}
	err := p.reach(ctx, s, name)
	if err != nil {
		s.leave()
		p.streams.leave()
		return nil, err
	}
	p.streams.add(s)
	return s, nil
}

func (p *Ports) reach(ctx context.Context, s *stream, name string) error {
	trip, err := p.deps.Finder.Begin(ctx, name)
	if err != nil {
		return err
	}
	defer trip.Started()
	leave, err := p.deps.Quota.Enter(&trip.Route.Claim)
	if err != nil {
		return err
	}
	s.leave = leave
	for attempts, starts := 1, 1; ; starts++ {
		counts, err := p.attempt(ctx, trip, s, name)
		if err == nil {
			return nil
		}
		if counts {
			attempts++
		}
		if attempts > maxAttempts || starts >= maxStarts || ctx.Err() != nil || !s.repeatable(err) {
			return err
		}
	}
}

// attempt tries one proxy connection. counts is false if it was found to have
// ended.
func (p *Ports) attempt(ctx context.Context, trip *reach.Trip, s *stream, name string) (counts bool, err error) {
	conn, r, err := trip.Connect(ctx)
	if err != nil {
		return true, final{err}
	}
	if err := check(&r.Claim); err != nil {
		p.deps.Keep(conn)
		return true, final{err}
	}
	ex, err := conn.Start(context.WithoutCancel(ctx), p.startOf(ctx, &r.Claim, s.conn, name))
	if err != nil {
		conn.Discard() // it has ended this moment, and nobody has been told of the visitor
		return false, err
	}
	conn.Serve(r.Claim.TunnelID, whole{})
	trip.Started()
	s.proxy, s.ex = conn, ex
	s.up.begin(ex)
	answer, cancel := context.WithTimeoutCause(ctx, answerWithin, reach.ErrUpstreamTimeout)
	defer cancel()
	if _, err = ex.AwaitResp(answer); err == nil {
		return true, nil
	}
	if answer.Err() != nil {
		err = context.Cause(answer)
	}
	s.giveUp()
	if s.up.failed {
		err = final{errGone}
	}
	return !errors.Is(err, proxyconn.ErrAckTimeout), err
}

// check refuses what this frontdoor cannot serve as its owner wants it.
func check(c *route.Claim) error {
	switch {
	case c.Protocol != route.ProtocolTCP:
		return errNotTCP
	case len(c.Critical()) > 0: // none is about connections, and a port is no pool's
		return reach.ErrUnsupported
	}
	return nil
}

func (p *Ports) startOf(ctx context.Context, c *route.Claim, visitor *ingress.Conn, name string) *proxyv1.Start {
	return &proxyv1.Start{
		TunnelId: c.TunnelID, Url: "tcp://" + p.cfg.Domain + ":" + strings.TrimPrefix(name, prefix), Protocol: proxyv1.Protocol_PROTOCOL_TCP,
		ClientAddress: visitor.RemoteAddr().String(), Trace: p.trace.forAgent(ctx, c.Agent.ID),
	}
}

// final is an error that another attempt would have as well.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// whole is how a connection is bound to one visitor: until its end.
type whole struct{}

// IdleSince implements pool.Use.
func (whole) IdleSince() time.Time { return time.Time{} }

// EndIdle implements pool.Use.
func (whole) EndIdle() {}
