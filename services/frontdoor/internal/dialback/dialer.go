// Package dialback gets connections to agents: it asks for them through the
// connectors, accepts them, and ends them when the agent's right to them does.
package dialback

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// What asking can end with.
var (
	// ErrUnreachable: no attachment of the route leads to the agent, now.
	ErrUnreachable = errs.New(errs.Unavailable, errs.ReasonAgentOffline,
		"the endpoint is known, but its agent cannot be reached").WithRetry(5 * time.Second)
	ErrTimeout = errs.New(errs.DeadlineExceeded, errs.ReasonDialbackTimeout,
		"the agent was asked for a connection, but did not connect in time")
	ErrLimit = errs.New(errs.Unavailable, errs.ReasonOverloaded,
		"the agent has as many connections as it can take").WithRetry(time.Second)
)

// minPatience is how long an attachment may say nothing before the next one is
// asked as well.
const minPatience = 250 * time.Millisecond

// Config says how dial-backs are asked for.
type Config struct {
	// Timeout is how long an agent has to come.
	Timeout time.Duration
	// KeepSpare is how long a connection is kept whose visitor had gone.
	KeepSpare time.Duration
	// MaxTickets bounds the dial-backs under way, MaxConns all connections.
	MaxTickets, MaxConns int
	// Addresses are where agents reach this frontdoor, best first.
	Addresses []string
	// ServerName is what they present as SNI: this frontdoor and no other.
	ServerName string
}

// Dialer asks for dial-backs and accepts them.
type Dialer struct {
	cfg     Config
	table   *route.Table
	tickets *tickets
	conns   *conns
	links   *Links
	log     *slog.Logger
}

// New returns a dialer; its Links are to be run.
func New(cfg Config, table *route.Table, connector func(id, address string) (grpc.ClientConnInterface, error), log *slog.Logger) *Dialer {
	set := newConns(cfg.KeepSpare)
	return &Dialer{
		cfg: cfg, table: table, tickets: newTickets(cfg.MaxTickets), conns: set,
		links: newLinks(connector, table, set, log), log: log,
	}
}

// Links are the streams to the connectors.
func (d *Dialer) Links() *Links { return d.links }

// Keep leaves a connection that is free to a visitor who waits for one, or to the
// next.
func (d *Dialer) Keep(c *Conn) {
	c.Spare = true
	if !c.Idle() || !d.tickets.offer(c) {
		d.conns.put(c)
	}
}

// Close ends all connections and takes no more.
func (d *Dialer) Close() { d.conns.closeAll() }

// Counts returns the dial-backs under way and the connections that stand.
func (d *Dialer) Counts() (tickets, conns int) { return d.tickets.count(), d.conns.count() }

// Dial returns a connection of the route's agent: one that nobody needs, or a
// new one. If ctx ends first, a connection that comes later is kept for the
// next visitor.
func (d *Dialer) Dial(ctx context.Context, r *route.Route) (*Conn, error) {
	if len(r.Attachments) == 0 {
		return nil, ErrUnreachable
	}
	if c := d.conns.take(r.Claim.Agent); c != nil {
		return c, nil
	}
	id, w, err := d.tickets.issue(r.Claim.Agent, d.cfg.Timeout)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(d.cfg.Timeout)
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, ErrTimeout)
	defer cancel()
	a := asking{
		Dialer: d, route: r, ticket: id, deadline: deadline, want: w,
		events: make(chan event, 3*len(r.Attachments)+1),
	}
	c, err := a.run(ctx)
	if err == nil {
		return c, nil
	}
	if gone := ctx.Err() != nil && !errors.Is(err, ErrTimeout); !gone {
		d.tickets.withdraw(id)
	}
	if c := w.abandon(); c != nil {
		d.Keep(c)
	}
	return nil, err
}

// asking is one ticket's way through the route's attachments.
type asking struct {
	*Dialer
	route    *route.Route
	ticket   ticket
	want     *want
	deadline time.Time
	events   chan event
}

// event is what one attachment's connector has said of the ticket.
type event struct {
	attachment route.Attachment
	verdict    connectorv1.Verdict
	reason     agentv1.FailReason
	rtt        time.Duration
	err        error // the call has failed
	asked      bool  // it had been said before that the agent was asked
}

// run asks one attachment after the other, until the agent comes, one of them
// says that it cannot, or none is left.
func (a *asking) run(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next, open := 0, 0
	patience := time.NewTimer(0)
	defer patience.Stop()
	for {
		var err error
		select {
		case c := <-a.want.arrived:
			return c, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-patience.C:
			if next < len(a.route.Attachments) {
				go a.ask(ctx, a.route.Attachments[next])
				next, open = next+1, open+1
				patience.Reset(minPatience)
			}
			continue
		case e := <-a.events:
			if e.err == nil && e.verdict == connectorv1.Verdict_VERDICT_ASKED {
				patience.Reset(max(minPatience, 3*e.rtt))
				continue
			}
			if e.err != nil && e.asked {
				patience.Reset(0) // the connector has died; the agent may be on its way
				continue
			}
			final, why := a.judge(e)
			if final {
				return nil, why
			}
			err = why
			open--
		}
		if open == 0 && next == len(a.route.Attachments) {
			return nil, err
		}
		patience.Reset(0)
	}
}

// judge says what a bad verdict means. final: no other attachment helps.
func (a *asking) judge(e event) (final bool, err error) {
	if e.err != nil {
		return false, ErrUnreachable.WithCause(e.err)
	}
	switch e.verdict {
	case connectorv1.Verdict_VERDICT_NO_SESSION, connectorv1.Verdict_VERDICT_SESSION_ENDED:
		a.table.EndAttachment(e.attachment)
		return false, ErrUnreachable
	case connectorv1.Verdict_VERDICT_OVERLOADED:
		return false, ErrLimit
	case connectorv1.Verdict_VERDICT_FAILED:
		if e.reason == agentv1.FailReason_FAIL_REASON_LIMIT {
			return true, ErrLimit
		}
		return true, ErrTimeout.WithMessage("the agent was asked for a connection, but could not connect to this server").
			WithCause(errors.New(e.reason.String()))
	}
	return false, ErrUnreachable
}

// ask sends the ticket through one attachment and reports what is said of it.
func (a *asking) ask(ctx context.Context, attachment route.Attachment) {
	report := func(e event) {
		e.attachment = attachment
		select {
		case a.events <- e:
		case <-ctx.Done():
		}
	}
	client := a.links.client(attachment.ConnectorID)
	if client == nil {
		report(event{err: errors.New("the connector is not in the node table")})
		return
	}
	agent := a.route.Claim.Agent
	stream, err := client.RequestProxy(ctx, &connectorv1.RequestProxyRequest{
		AgentId: agent.ID, Instance: agent.Instance[:], SessionId: attachment.SessionID,
		Tickets: [][]byte{a.ticket[:]}, Addresses: a.cfg.Addresses, ServerName: a.cfg.ServerName,
		Remaining: durationpb.New(time.Until(a.deadline)),
	})
	if err != nil {
		report(event{err: err})
		return
	}
	for asked := false; ; asked = true {
		v, err := stream.Recv()
		if err != nil {
			// It ends once nothing can come of the ticket any more but the agent.
			if !asked || !errors.Is(err, io.EOF) {
				report(event{err: err, asked: asked})
			}
			return
		}
		report(event{verdict: v.GetVerdict(), reason: v.GetReason(), rtt: v.GetRtt().AsDuration()})
		if v.GetVerdict() != connectorv1.Verdict_VERDICT_ASKED {
			return
		}
	}
}
