package http1

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// slop is how much longer than allowed a head may be: it is read in pieces.
const slop = 4 << 10

var errHeadTooLong = errors.New("the head of the request is too long")

// source is what a connection's buffer is filled from. While a handler runs behind
// a request that was read to its end, it can listen for the visitor's leaving.
type source struct {
	conn    net.Conn
	left    int // bytes that may still be read, if that is limited
	limited bool

	mu       sync.Mutex
	stopping bool
	stopped  chan struct{} // closed when nobody listens any more; nil: nobody has
	ahead    [1]byte       // a byte that came while listening
	has      bool
}

// limit bounds what is read from now on.
func (s *source) limit(n int) { s.left, s.limited = n, true }

// unlimit takes the bound off.
func (s *source) unlimit() { s.limited = false }

// Read implements io.Reader. Nobody listens meanwhile.
func (s *source) Read(p []byte) (int, error) {
	if s.limited {
		if s.left <= 0 {
			return 0, errHeadTooLong
		}
		p = p[:min(len(p), s.left)]
	}
	if s.has && len(p) > 0 {
		p[0], s.has = s.ahead[0], false
		s.left--
		return 1, nil
	}
	n, err := s.conn.Read(p)
	s.left -= n
	return n, err
}

// listen calls gone if the connection ends. A byte that comes, of a next request,
// ends the listening.
func (s *source) listen(gone func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has {
		return
	}
	stopped := make(chan struct{})
	s.stopped = stopped
	_ = s.conn.SetReadDeadline(time.Time{}) // that of the head
	go func() {
		defer close(stopped)
		n, err := s.conn.Read(s.ahead[:])
		s.mu.Lock()
		defer s.mu.Unlock()
		s.has = n > 0
		if err != nil && (!s.stopping || !errors.Is(err, os.ErrDeadlineExceeded)) {
			gone()
		}
	}()
}

// quiet ends the listening.
func (s *source) quiet() {
	s.mu.Lock()
	stopped := s.stopped
	s.stopping = true
	s.mu.Unlock()
	if stopped != nil {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		<-stopped
		_ = s.conn.SetReadDeadline(time.Time{})
	}
	s.stopping, s.stopped = false, nil
}
