package control

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/peer"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/services/connector/internal/credentials"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// An agent's messages: what comes faster waits in its own flow control
	// window. The burst lets it answer everything that it may be asked at once.
	messagesPerSecond = 1000
	messageBurst      = 4096
	// Requests about tunnels: how many run at once, how many wait, and how fast
	// they begin, for one session. They cost the registry a transaction each.
	tunnelJobs        = 4
	tunnelJobsWaiting = 1024
	tunnelsPerSecond  = 20
	tunnelBurst       = 512
	// farewell bounds what is still done for an agent that has said goodbye.
	farewell = 5 * time.Second
)

// agent is one control stream with its session.
type agent struct {
	server     *Server
	stream     stream
	link       *link
	session    *session.Session
	maxTunnels int
	jobs       *session.Lanes
	jobPace    *rate.Limiter
	unknown    atomic.Int64 // messages that were ignored
	hangUp     *time.Timer  // set at the session's end
}

func (s *Server) newAgent(stream stream, p *peer.Peer, grant credentials.Grant) *agent {
	most := s.cfg.MaxTunnels
	if grant.MaxTunnels > 0 {
		most = min(most, grant.MaxTunnels)
	}
	a := &agent{
		server: s, stream: stream, maxTunnels: most,
		jobs:    session.NewLanes(tunnelJobs, tunnelJobsWaiting),
		jobPace: rate.NewLimiter(tunnelsPerSecond, tunnelBurst),
	}
	a.link, _ = p.AuthInfo.(*link)
	a.session = session.New(grant.Identity, p.Addr.String(), grant.Assertion, a.hangUpSoon)
	if relayed, ok := a.link.conn.(interface{ Via() string }); ok {
		a.session.Via = relayed.Via()
	}
	return a
}

// read handles the agent's messages until the stream ends. It never sends, and
// waits for nothing but the agent's next message.
func (a *agent) read() {
	pace := rate.NewLimiter(messagesPerSecond, messageBurst)
	for {
		msg, err := a.stream.Recv()
		if err != nil {
			a.readerEnds(err)
			return
		}
		a.session.Heard(time.Now())
		a.handle(msg)
		if pace.Wait(a.stream.Context()) != nil {
			return // the stream has ended, and the writer knows
		}
	}
}

// readerEnds ends the session when the agent does. One that half-closes is given
// the answers that it has asked for.
func (a *agent) readerEnds(err error) {
	table := a.server.table
	if !errors.Is(err, io.EOF) {
		table.End(a.session, session.Lost, streamFault(err))
		return
	}
	ctx, cancel := context.WithTimeout(a.stream.Context(), farewell)
	defer cancel()
	_ = a.jobs.Wait(ctx)
	reason := session.Lost
	if table.Tunnels(a.session) == 0 {
		reason = session.Closed
	}
	table.End(a.session, reason, nil)
}

func (a *agent) handle(msg *agentv1.ConnectRequest) {
	switch m := msg.GetMessage().(type) {
	case *agentv1.ConnectRequest_Ping:
		a.session.AnswerPing(m.Ping.GetId(), time.Now(), a.server.cfg.Pings)
	case *agentv1.ConnectRequest_Pong:
		a.session.Pong(m.Pong.GetId(), time.Now())
	case *agentv1.ConnectRequest_ProxyFailed:
		a.session.ProxyFailed(string(m.ProxyFailed.GetTicket()), int32(m.ProxyFailed.GetReason()))
	case *agentv1.ConnectRequest_ReqTunnel:
		a.reqTunnel(m.ReqTunnel)
	case *agentv1.ConnectRequest_CloseTunnel:
		a.closeTunnel(m.CloseTunnel)
	default: // a newer agent's, or a second Auth
		a.unknown.Add(1)
	}
}

// write sends what the session's outbox holds until the session ends, and tells
// the agent why it has.
func (a *agent) write() error {
	defer a.closed()
	for {
		if err := a.flush(); err != nil {
			a.server.table.End(a.session, session.Lost, streamFault(err))
		}
		select {
		case <-a.session.Wake():
		case <-a.session.Done():
			return a.goodbye()
		}
	}
}

// flush sends all that is ready. Only this session waits when its agent does not
// read; it is cut loose when a ping goes unanswered.
func (a *agent) flush() error {
	for {
		m, ok := a.session.Next()
		if !ok {
			return nil
		}
		if err := a.stream.Send(toWire(m, a.session.Opened)); err != nil {
			return err
		}
	}
}

// goodbye returns what ends the stream. An agent that left in good order gets its
// last answers before it.
func (a *agent) goodbye() error {
	_, cause := a.session.End()
	if cause == nil {
		_ = a.flush()
	}
	return cause
}
