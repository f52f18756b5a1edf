package proxyconn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// mservice is a private connection in memory: the agent has its net.Conn, the
// model the local service's end.
type mservice struct {
	mu   sync.Mutex
	cond *sync.Cond

	reply      []byte // what the agent can read
	fin, rst   bool   // the service has ended, or reset
	deaf       bool   // it reads no more: writes to it fail
	got        []byte // what it was sent
	asked      int    // the newest HTTP request of which a byte was sent its way
	gotEnd     bool   // and the end of that
	slow       bool   // writes arrive, and return when slow ends
	inWrite    bool
	closed     bool
	deadline   time.Time
	alarm      *time.Timer
	writeFails bool // a write has failed
}

func newService() *mservice {
	s := new(mservice)
	s.cond = sync.NewCond(&s.mu)
	return s
}

// change is what the local service does.
func (s *mservice) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.cond.Broadcast()
}

func (s *mservice) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case s.rst:
			return 0, syscall.ECONNRESET
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(s.reply) > 0:
			n := copy(b, s.reply)
			s.reply = s.reply[n:]
			return n, nil
		case s.fin:
			return 0, io.EOF
		}
		s.cond.Wait()
	}
}

func (s *mservice) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = int(b[len(b)-word+8])
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.rst, s.deaf:
		s.writeFails = true
		return 0, syscall.EPIPE
	case s.gotEnd:
		return 0, errors.New("a write behind CloseWrite")
	}
	s.got = append(s.got, b...)
	for s.inWrite = true; s.slow && !s.closed; {
		s.cond.Wait()
	}
	s.inWrite = false
	return len(b), nil
}

// stuck says that a write has arrived and not returned.
func (s *mservice) stuck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inWrite
}

func (s *mservice) CloseWrite() error {
	s.change(func() { s.gotEnd = true })
	return nil
}

func (s *mservice) Close() error {
	s.change(func() {
		s.closed = true
		if s.alarm != nil {
			s.alarm.Stop()
		}
	})
	return nil
}

func (s *mservice) SetReadDeadline(t time.Time) error {
	s.change(func() {
		if s.alarm != nil {
			s.alarm.Stop()
			s.alarm = nil
		}
		s.deadline = t
		if left := time.Until(t); !t.IsZero() && left > 0 {
			s.alarm = time.AfterFunc(left, func() { s.change(func() {}) })
		}
	})
	return nil
}

func (s *mservice) SetDeadline(t time.Time) error      { return s.SetReadDeadline(t) }
func (s *mservice) SetWriteDeadline(t time.Time) error { return nil }
func (s *mservice) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (s *mservice) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
