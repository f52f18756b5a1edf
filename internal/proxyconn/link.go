package proxyconn

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// past is a deadline that interrupts.
var past = time.Unix(1, 0)

// frames holds buffers for one frame each.
var frames = sync.Pool{New: func() any { return new([maxFrame]byte) }}

// link is what both ends of a connection have in common: frames in, frames out,
// and one way to die.
//
// Who reads never writes. A control frame that reading gives rise to is posted,
// and goes out before the next frame of whoever writes, or by a goroutine that
// lives until nothing is posted any more. So two ends that are both blocked in
// writes still read, and get each other going again.
type link struct {
	conn net.Conn
	in   frameReader

	wmu sync.Mutex // held by whoever writes to conn; before mu

	mu       sync.Mutex
	posted   []control
	flushing bool // the goroutine that writes what is posted exists
	pong     []byte
	ping     *ping
	deadline time.Time // conn's read deadline
	err      error     // why the connection is dead
	done     chan struct{}
	// dying is called once, with mu held, when err has been set.
	dying func()

	tasks sync.WaitGroup
}

// control is a posted frame.
type control struct {
	frame []byte
	// written is called with mu held once the frame's write has returned. Only
	// then has a direction ended: a frame that is merely decided upon could
	// still land in the next exchange.
	written func()
}

func (l *link) init(c net.Conn, dying func()) {
	l.conn, l.in.src, l.done, l.dying = c, c, make(chan struct{}), dying
}

// Done is closed when the connection has ended.
func (l *link) Done() <-chan struct{} { return l.done }

// Err says why the connection has ended; nil while it lives.
func (l *link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// fail ends the connection at once; the other end sees a TCP reset.
func (l *link) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failLocked(err)
}

func (l *link) failLocked(err error) error {
	if l.err == nil {
		l.endLocked(err)
		abort(l.conn)
	}
	return l.err
}

// closeLocked ends an idle connection in order. Saying goodbye is a write, so
// it is not done here.
func (l *link) closeLocked(err error) {
	if l.err == nil {
		l.endLocked(err)
		l.tasks.Go(func() { _ = l.conn.Close() })
	}
}

func (l *link) endLocked(err error) {
	l.err = err
	l.posted, l.pong = nil, nil
	close(l.done)
	l.dying()
}

// broken is fail for an error of the transport; a timeout is no failure, it is
// left to the caller, who has set the deadline.
func (l *link) broken(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	var wrong *ProtocolError
	if !errors.As(err, &wrong) {
		err = &LostError{Err: err}
	}
	return l.fail(err)
}

// armLocked sets the read deadline, which a pending read obeys.
func (l *link) armLocked(t time.Time) {
	if !l.deadline.Equal(t) {
		l.deadline = t
		_ = l.conn.SetReadDeadline(t)
	}
}

// postLocked queues a control frame. The queue is bounded by the state machine:
// an exchange posts each kind once.
func (l *link) postLocked(kind proxyv1.FrameType, m proto.Message, written func()) {
	frame, err := appendControl(nil, kind, m)
	if err != nil {
		_ = l.failLocked(err)
		return
	}
	l.posted = append(l.posted, control{frame, written})
	l.kickLocked()
}

// kickLocked makes sure that what is posted goes out though nobody may be about
// to write.
func (l *link) kickLocked() {
	if l.flushing || l.err != nil {
		return
	}
	l.flushing = true
	l.tasks.Go(func() {
		for more := true; more; {
			l.wmu.Lock()
			err := l.flush()
			l.wmu.Unlock()
			l.mu.Lock()
			more = err == nil && (len(l.posted) > 0 || l.pong != nil)
			l.flushing = more
			l.mu.Unlock()
		}
	})
}

// flush writes what is posted; the caller holds wmu.
func (l *link) flush() error {
	for {
		l.mu.Lock()
		posted, pong, err := l.posted, l.pong, l.err
		l.posted, l.pong = nil, nil
		l.mu.Unlock()
		if err != nil || len(posted) == 0 && pong == nil {
			return err
		}
		out := pong
		for _, c := range posted {
			out = append(out, c.frame...)
		}
		if err := l.write(out); err != nil {
			return err
		}
		l.mu.Lock()
		for _, c := range posted {
			if c.written != nil && l.err == nil {
				c.written()
			}
		}
		l.mu.Unlock()
	}
}

// write writes whole frames; the caller holds wmu. Half a frame cannot be taken
// back, so every error is the connection's end.
func (l *link) write(b []byte) error {
	if _, err := l.conn.Write(b); err != nil {
		return l.fail(&LostError{Err: err})
	}
	return nil
}

// send writes one control frame in the caller's goroutine. legal is asked, with
// mu held, behind everything that was posted before; written is called with mu
// held once the write has returned.
func (l *link) send(kind proxyv1.FrameType, m proto.Message, legal func() error, written func()) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.flush(); err != nil {
		return err
	}
	l.mu.Lock()
	err := l.err
	if err == nil {
		err = legal()
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	buf := frames.Get().(*[maxFrame]byte)
	defer frames.Put(buf)
	frame, err := appendControl(buf[:0], kind, m)
	if err != nil {
		return l.fail(err)
	}
	if err := l.write(frame); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if written != nil && l.err == nil {
		written()
	}
	return nil
}

// decode reads the whole payload of the open frame as a message.
func decode[T any, M interface {
	*T
	proto.Message
}](l *link,
) (M, error) {
	kind := l.in.kind
	b, err := l.in.all()
	if err != nil {
		return nil, err
	}
	m := M(new(T))
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, violation("%v: %v", kind, err)
	}
	return m, nil
}
