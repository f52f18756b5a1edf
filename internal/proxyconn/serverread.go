package proxyconn

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// step reads one frame and acts on it. Of a DATA frame it reads only the
// beginning and answers true: the payload is the caller's. The caller has the
// turn to read.
func (s *Server) step() (data bool, err error) {
	kind, err := s.advance()
	if err != nil {
		return false, s.broken(err)
	}
	switch kind {
	case proxyv1.FrameType_FRAME_TYPE_DATA, proxyv1.FrameType_FRAME_TYPE_DATA_DELIVERED:
		data, err = true, s.onData(kind)
	case proxyv1.FrameType_FRAME_TYPE_ACK:
		err = on(s, (*ServerExchange).onAck)
	case proxyv1.FrameType_FRAME_TYPE_RESP:
		err = on(s, (*ServerExchange).onResp)
	case proxyv1.FrameType_FRAME_TYPE_FIN:
		err = on(s, (*ServerExchange).onFin)
	case proxyv1.FrameType_FRAME_TYPE_STOP:
		err = on(s, (*ServerExchange).onStop)
	case proxyv1.FrameType_FRAME_TYPE_RESET:
		err = on(s, (*ServerExchange).onReset)
	case proxyv1.FrameType_FRAME_TYPE_RETIRE:
		err = s.onRetire()
	default:
		err = violation("the agent sent %v", kind)
	}
	if err != nil {
		return false, s.broken(err)
	}
	return data, nil
}

// numbered is a control frame of an exchange.
type numbered[T any] interface {
	*T
	GetExchange() uint64
	proto.Message
}

// on reads a control frame and hands it to the exchange it names, which must be
// the one under way.
func on[T any, M numbered[T]](s *Server, f func(*ServerExchange, M) error) error {
	kind := s.in.kind
	m, err := decode[T, M](&s.link)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := m.GetExchange()
	if s.ex != nil && s.ex.n == n {
		return f(s.ex, m)
	}
	if kind == proxyv1.FrameType_FRAME_TYPE_STOP && n > 0 && (n == s.last || s.ex != nil && n == s.last-1) {
		return nil // it crossed our FIN, which is all that it asks for
	}
	return violation("%v of exchange %d in %d", kind, n, s.last)
}

func (s *Server) onRetire() error {
	if b, err := s.in.all(); err != nil || len(b) > 0 {
		if err == nil {
			err = violation("RETIRE with a payload")
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watcher; w != nil && !s.retired {
		s.tasks.Go(w.Retired)
	}
	s.retireLocked()
	return nil
}

// onData judges a DATA frame by its header, once.
func (s *Server) onData(kind proxyv1.FrameType) error {
	if s.in.admitted {
		return nil
	}
	var delivered *uint64
	if kind == proxyv1.FrameType_FRAME_TYPE_DATA_DELIVERED {
		b, err := s.in.take(deliveredLen)
		if err != nil {
			return err
		}
		n := binary.BigEndian.Uint64(b)
		delivered = &n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.ex == nil {
		return violation("%v on an idle connection", kind)
	}
	if err := s.ex.admitDataLocked(kind, delivered); err != nil {
		return err
	}
	s.in.admitted = true
	return nil
}

// discard drops the payload of the open frame, within the budget that an
// aborted exchange has.
func (s *Server) discard() error {
	buf := frames.Get().(*[maxFrame]byte)
	defer frames.Put(buf)
	for s.in.open {
		n, err := s.in.read(buf[:])
		if err != nil {
			return s.broken(err)
		}
		s.mu.Lock()
		if s.ex != nil && s.ex.resetPosted {
			if s.ex.discarded += n; s.ex.discarded > abortBudget {
				err = s.failLocked(errTooLong)
			}
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Read reads bytes that the agent's local service has sent. Before the agent
// has answered the START it waits. It returns io.EOF behind the agent's FIN, a
// *RefusedError, *ResetError or *LostError, or ErrUnsolicited.
func (e *ServerExchange) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := e.takeTurn(); err != nil {
		return 0, err
	}
	defer func() { <-e.s.turn }()
	for {
		ready, err := e.ready()
		if err != nil {
			return 0, err
		}
		if ready {
			n, err := e.readPayload(p)
			if n > 0 || err != nil {
				return n, err
			}
			continue // an empty frame
		}
		if _, err := e.s.step(); err != nil {
			return 0, e.readError(err)
		}
	}
}

// takeTurn waits until the agent has answered and nobody else reads.
func (e *ServerExchange) takeTurn() error {
	select {
	case <-e.answered:
	default:
		select {
		case <-e.answered:
		case <-e.unread:
			return e.readError(nil)
		case <-e.readTimer.wait():
			return e.readError(errTimeout)
		}
	}
	select {
	case e.s.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case e.s.turn <- struct{}{}:
		return nil
	case <-e.unread:
		return e.readError(nil)
	case <-e.readTimer.wait():
		return e.readError(errTimeout)
	}
}

// ready says whether payload of an admitted frame is at hand, or why nothing
// can be read.
func (e *ServerExchange) ready() (bool, error) {
	s := e.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.readErr != nil {
		return false, e.readErr
	}
	if !s.in.open || !s.in.admitted {
		return false, nil
	}
	if e.frameRequest != e.request {
		// The rest of a frame that came before this request was begun.
		return false, s.failLocked(ErrUnsolicited)
	}
	return true, nil
}

func (e *ServerExchange) readPayload(p []byte) (int, error) {
	n, err := e.s.in.read(p)
	if err != nil {
		return 0, e.readError(e.s.broken(err))
	}
	e.received.Add(uint64(n))
	return n, nil
}

// Pending says whether the agent has sent something that nobody has read yet, or
// has closed the connection. It costs less than to find out by Read, and tells
// less: there may be nothing in it for the reader.
func (e *ServerExchange) Pending() bool {
	e.s.mu.Lock()
	over := e.readErr != nil
	e.s.mu.Unlock()
	return over || pending(e.s.conn)
}

// readError prefers the reason why reading has ended to what a read returned:
// Close interrupts readers by a deadline.
func (e *ServerExchange) readError(err error) error {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if e.readErr != nil {
		return e.readErr
	}
	return err
}
