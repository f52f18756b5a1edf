package dialback

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// minPatience is how long an attachment may say nothing before the next one is
	// asked as well.
	minPatience = 250 * time.Millisecond
	// yieldWithin is how long a connection takes that is given up by one endpoint
	// for another's visitor.
	yieldWithin = time.Second
)

// batch is the way of some tickets through the route's attachments.
type batch struct {
	*Dialer
	route    *route.Route
	ways     []route.Attachment // the route's
	deadline time.Time
	open     map[ticket]*open
	redeemed chan ticket
	events   chan event
}

// open is a ticket of which nothing final is known.
type open struct {
	ways int // attachments that have not said that they do not lead there
	why  pool.Why
}

// event is what one attachment's connector has said of a ticket.
type event struct {
	attachment route.Attachment
	ticket     ticket
	verdict    connectorv1.Verdict
	reason     agentv1.FailReason
	rtt        time.Duration
	err        error // the call has failed
	asked      bool  // it had been said before that the agent was asked
}

func (d *Dialer) newBatch(r *route.Route, size int) *batch {
	return &batch{
		Dialer: d, route: r, ways: r.Attachments(), deadline: time.Now().Add(d.cfg.Timeout), open: map[ticket]*open{},
		redeemed: make(chan ticket, size), events: make(chan event),
	}
}

func (b *batch) size() int { return len(b.open) }

// issue draws tickets. Those that cannot be are told to who waits for them.
func (b *batch) issue(why pool.Why, n int) {
	for i := range n {
		id, err := b.tickets.issue(&want{agent: b.route.Claim.Agent, why: why, begun: time.Now(), redeemed: b.redeemed})
		if err != nil {
			b.pool.Failed(b.route.Claim.Agent, n-i, err)
			return
		}
		b.open[id] = &open{ways: len(b.ways), why: why}
	}
}

// run asks one attachment after the other until something final is known of every
// ticket. heard is called when the first answer has come.
func (b *batch) run(ctx context.Context, heard func()) {
	ctx, cancel := context.WithDeadline(ctx, b.deadline)
	defer cancel()
	defer context.AfterFunc(b.life, cancel)()
	next := 0
	patience := time.NewTimer(0)
	defer patience.Stop()
	for len(b.open) > 0 {
		select {
		case id := <-b.redeemed:
			delete(b.open, id)
		case <-ctx.Done():
			for id := range b.open {
				b.fail(id, ErrTimeout)
			}
		case <-patience.C:
			if next < len(b.ways) {
				b.ask(ctx, b.ways[next])
				next++
				patience.Reset(minPatience)
			}
		case e := <-b.events:
			heard()
			if wait := b.hear(e); wait >= 0 {
				patience.Reset(wait)
			}
		}
	}
}

// hear acts on an event and says how long to wait before the next attachment is
// asked; negative: as before.
func (b *batch) hear(e event) time.Duration {
	t := b.open[e.ticket]
	switch {
	case t == nil:
		return -1 // it has come, or failed otherwise
	case e.err == nil && e.verdict == connectorv1.Verdict_VERDICT_ASKED:
		return max(minPatience, 3*e.rtt)
	case e.err != nil && e.asked:
		return 0 // the connector has died; the agent may be on its way
	}
	final, why := b.judge(e)
	t.ways--
	if final || t.ways == 0 {
		b.fail(e.ticket, why)
	}
	return 0
}

// fail says that nothing will come of a ticket, unless it just has.
func (b *batch) fail(id ticket, err error) {
	delete(b.open, id)
	w := b.tickets.withdraw(id)
	if w == nil {
		return
	}
	switch {
	case !errors.Is(err, ErrLimit):
		if w.why == pool.Visitor {
			b.pool.Failed(w.agent, 1, err)
		} else {
			b.pool.Refused(w.agent, 1, err)
		}
	case w.why == pool.Visitor && b.pool.Yield(w.agent):
		time.AfterFunc(yieldWithin, func() { b.pool.Refused(w.agent, 1, err) })
	default:
		b.pool.Refused(w.agent, 1, err)
	}
}

// judge says what a bad verdict means. final: no other attachment helps.
func (b *batch) judge(e event) (final bool, err error) {
	if e.err != nil {
		return false, ErrUnreachable.WithCause(e.err)
	}
	switch e.verdict {
	case connectorv1.Verdict_VERDICT_NO_SESSION, connectorv1.Verdict_VERDICT_SESSION_ENDED:
		b.table.EndAttachment(e.attachment)
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

// ask sends the open tickets through one attachment.
func (b *batch) ask(ctx context.Context, attachment route.Attachment) {
	c := &call{batch: b, attachment: attachment, asked: map[ticket]bool{}}
	agent := b.route.Claim.Agent
	request := &connectorv1.RequestProxyRequest{
		AgentId: agent.ID, Instance: agent.Instance[:], SessionId: attachment.SessionID,
		Addresses: b.cfg.Addresses, ServerName: b.cfg.ServerName,
		Remaining: durationpb.New(time.Until(b.deadline)),
	}
	for id := range b.open {
		c.asked[id] = false
		request.Tickets = append(request.Tickets, id[:])
	}
	go c.run(ctx, request)
}

// call is a batch's stream to one connector.
type call struct {
	*batch
	attachment route.Attachment
	asked      map[ticket]bool // those of which more can be said, and whether the agent was asked
}

func (c *call) report(ctx context.Context, e event) {
	e.attachment = c.attachment
	select {
	case c.events <- e:
	case <-ctx.Done():
	}
}

func (c *call) run(ctx context.Context, request *connectorv1.RequestProxyRequest) {
	err := c.listen(ctx, request)
	// The stream ends once nothing can come of the tickets any more but the agent.
	for id, asked := range c.asked {
		if !asked || !errors.Is(err, io.EOF) {
			c.report(ctx, event{ticket: id, err: err, asked: asked})
		}
	}
}

func (c *call) listen(ctx context.Context, request *connectorv1.RequestProxyRequest) error {
	client := c.links.client(c.attachment.ConnectorID)
	if client == nil {
		return errors.New("the connector is not in the node table")
	}
	stream, err := client.RequestProxy(ctx, request)
	if err != nil {
		return err
	}
	for len(c.asked) > 0 {
		v, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(v.GetTicket()) != ticketLen {
			continue
		}
		id := ticket(v.GetTicket())
		if _, known := c.asked[id]; !known {
			continue
		}
		if v.GetVerdict() == connectorv1.Verdict_VERDICT_ASKED {
			c.asked[id] = true
		} else {
			delete(c.asked, id)
		}
		c.report(ctx, event{ticket: id, verdict: v.GetVerdict(), reason: v.GetReason(), rtt: v.GetRtt().AsDuration()})
	}
	return nil
}
