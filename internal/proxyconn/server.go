package proxyconn

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// Server is the frontdoor's end of a proxy connection.
type Server struct {
	link
	opt          Options
	capabilities []string
	agentVersion string

	turn chan struct{} // whoever reads from the connection has put a token in

	// The rest is guarded by mu.
	ex      *ServerExchange // nil while idle
	last    uint64          // the newest exchange's number
	retired bool
	keeping bool // the goroutine of keep exists
	watcher Watcher
	rtt     time.Duration
	bytes   uint64 // of the exchanges that have ended
}

// Accept reads the agent's RegProxy from c, which it takes over. The ticket in
// it is not judged here: Close the Server if it is not valid.
func Accept(ctx context.Context, c net.Conn, opt Options) (*Server, *proxyv1.RegProxy, error) {
	opt = opt.withDefaults()
	var reg *proxyv1.RegProxy
	err := bounded(ctx, c, opt.RegisterTimeout, func() (err error) {
		reg, err = readRegProxy(c)
		return err
	})
	if err != nil {
		abort(c)
		return nil, nil, err
	}
	keepAlive(c)
	s := &Server{
		opt:          opt,
		capabilities: reg.GetCapabilities(),
		agentVersion: reg.GetAgentVersion(),
		turn:         make(chan struct{}, 1),
		rtt:          opt.RTT,
	}
	s.init(c, s.dying)
	s.mu.Lock()
	s.keepLocked()
	s.mu.Unlock()
	return s, reg, nil
}

// Capabilities are the features that the agent has beyond version 1.
func (s *Server) Capabilities() []string { return s.capabilities }

// AgentVersion is for logs and explanations.
func (s *Server) AgentVersion() string { return s.agentVersion }

// LocalAddr is this end's address.
func (s *Server) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr is the agent's address.
func (s *Server) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Idle says that a Start would be accepted.
func (s *Server) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idleLocked()
}

func (s *Server) idleLocked() bool { return s.err == nil && s.ex == nil && !s.retired }

// Start begins an exchange: it sets st's exchange number, writes the START and
// waits for nothing. ErrBusy, ErrRetired or why the connection is dead.
func (s *Server) Start(ctx context.Context, st *proxyv1.Start) (*ServerExchange, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	const room = 32 // for the exchange's number and a margin
	if size := proto.Size(st); size > MaxPayload-room {
		return nil, fmt.Errorf("proxyconn: START of %d bytes", size)
	}
	e := newServerExchange(s, st)
	err := s.send(proxyv1.FrameType_FRAME_TYPE_START, st, func() error {
		switch {
		case s.retired:
			return ErrRetired
		case s.ex != nil:
			return ErrBusy
		}
		s.last++
		st.Exchange, e.n = s.last, s.last
		s.ex = e
		e.begun = time.Now()
		e.ackBy = e.begun.Add(s.ackTimeoutLocked())
		s.armLocked(e.ackBy)
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Ping measures the round trip of an idle connection and so proves it alive.
func (s *Server) Ping(ctx context.Context) (time.Duration, error) {
	rtt, err := s.roundTrip(ctx, func() bool { return s.ex == nil })
	if err == nil {
		s.mu.Lock()
		s.measuredLocked(rtt)
		s.mu.Unlock()
	}
	return rtt, err
}

// Retire lets the exchange that is under way end, if there is one, and then
// closes the connection.
func (s *Server) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retireLocked()
}

func (s *Server) retireLocked() {
	s.retired = true
	if s.ex == nil {
		s.closeLocked(ErrRetired)
	}
}

// Close ends the connection at once, with a TCP reset if an exchange is under
// way, and waits for its goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.ex == nil {
		s.closeLocked(net.ErrClosed)
	} else {
		_ = s.failLocked(net.ErrClosed)
	}
	s.mu.Unlock()
	s.tasks.Wait()
	return nil
}

// dying ends the exchange that the connection takes with it.
func (s *Server) dying() {
	if s.ex != nil {
		s.ex.finishLocked(s.err)
	}
	if w, err := s.watcher, s.err; w != nil {
		s.tasks.Go(func() { w.Ended(err) })
	}
}

// keepLocked starts the goroutine that reads while no caller of Read does.
func (s *Server) keepLocked() {
	if s.keeping || s.err != nil {
		return
	}
	s.keeping = true
	s.tasks.Go(s.keep)
}

// keep reads whenever no caller of an exchange's Read is to: on an idle
// connection, until the agent has answered a START, behind the agent's FIN, and
// while an aborted exchange is discarded. So an end of the connection is always
// noticed.
func (s *Server) keep() {
	select {
	case s.turn <- struct{}{}:
	case <-s.done:
		return
	}
	defer func() { <-s.turn }()
	for s.keepOn() {
		data, err := s.step()
		if err == nil && data {
			err = s.discard()
		}
		if err != nil && !s.outlived() {
			return
		}
	}
}

// keepOn decides whether keep has to go on, and how long it may wait.
func (s *Server) keepOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.ex.readableLocked() {
		s.keeping = false
		if s.err == nil {
			s.armLocked(s.ex.readBy)
		}
		return false
	}
	s.armLocked(s.ex.patienceLocked())
	return true
}

// outlived says whether the connection has survived an error of a read: an
// interruption it does, the end of its patience it does not.
func (s *Server) outlived() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		if by := s.ex.patienceLocked(); !by.IsZero() && !time.Now().Before(by) {
			_ = s.failLocked(s.ex.impatienceLocked())
		}
	}
	return s.err == nil
}

// settleLocked ends the exchange if nothing more can come of it. It is the one
// place that decides whether an exchange is over and the connection idle again.
func (s *Server) settleLocked(e *ServerExchange) {
	if s.ex != e || s.err != nil || !e.overLocked() {
		return
	}
	s.ex = nil
	e.finishLocked(nil)
	s.armLocked(time.Time{})
	if !e.writeBy.IsZero() {
		_ = s.conn.SetWriteDeadline(time.Time{})
	}
	if s.retired {
		s.closeLocked(ErrRetired)
		return
	}
	s.keepLocked()
}
