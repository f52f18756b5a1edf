package proxyconn

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// parcel is a frame on its way. One without bytes is the news that its sender
// has closed the connection.
type parcel struct {
	kind     proxyv1.FrameType
	exchange uint64 // of a control frame
	bytes    []byte
	reset    bool // the sender's close was a reset
}

func (p parcel) payload() []byte { return p.bytes[headerLen:] }

func parse(b []byte) parcel {
	p := parcel{kind: proxyv1.FrameType(b[0]), bytes: b}
	switch p.kind {
	case fData, fDelivered, fRetire, fPing, fPong:
	default:
		var m proxyv1.Ack // the number has the same place in all of them
		_ = proto.Unmarshal(p.payload(), &m)
		p.exchange = m.GetExchange()
	}
	return p
}

// mconn is one end of a connection in memory whose delivery the model
// controls: what is written stands in sent until it is delivered.
type mconn struct {
	mu   *sync.Mutex // of both ends
	cond *sync.Cond
	far  *mconn
	// Called with mu held for each frame: said as it is written, spoke when that
	// write has returned, heard before this end can read it.
	said, spoke, heard func(parcel)

	sent  []parcel
	ready []byte // delivered to this end and not read
	raw   bool   // bytes go through at once; until RegProxy has

	hold     bool // writes wait for release
	held     [][]parcel
	released int // of held

	closed, linger bool
	readErr        error // behind ready
	writeErr       error
	deadline       time.Time
	alarm          *time.Timer
}

func newWire() (frontdoor, agent *mconn) {
	mu := new(sync.Mutex)
	cond := sync.NewCond(mu)
	frontdoor = &mconn{mu: mu, cond: cond, raw: true}
	agent = &mconn{mu: mu, cond: cond, raw: true, far: frontdoor}
	frontdoor.far = agent
	return frontdoor, agent
}

func (c *mconn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(c.ready) > 0:
			n := copy(b, c.ready)
			c.ready = c.ready[n:]
			return n, nil
		case c.readErr != nil:
			return 0, c.readErr
		}
		c.cond.Wait()
	}
}

func (c *mconn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	if c.raw {
		c.far.ready = append(c.far.ready, b...)
		c.cond.Broadcast()
		return len(b), nil
	}
	var written []parcel
	for rest := b; len(rest) > 0; {
		size := headerLen + int(binary.BigEndian.Uint32(rest)&0xffffff)
		p := parse(slices.Clone(rest[:size]))
		written, rest = append(written, p), rest[size:]
		c.said(p)
	}
	if !c.far.closed {
		c.sent = append(c.sent, written...)
	}
	if c.hold {
		c.held = append(c.held, written)
		for turn := len(c.held); c.released < turn && !c.closed; {
			c.cond.Wait()
		}
		if c.closed {
			return 0, net.ErrClosed
		}
	}
	for _, p := range written {
		c.spoke(p)
	}
	return len(b), nil
}

// busy says that a write is held.
func (c *mconn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.released < len(c.held) && !c.closed
}

// release lets the held write return.
func (c *mconn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released = len(c.held)
	c.cond.Broadcast()
}

// waiting is what could be delivered to this end next.
func (c *mconn) waiting() []parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	return slices.Clone(c.far.sent)
}

// behind says that this end has not read all that was delivered to it.
func (c *mconn) behind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ready) > 0
}

// deliver hands this end the next n frames, as if they had come in one read.
// DATA frames that follow each other count as one.
func (c *mconn) deliver(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; n > 0 && len(c.far.sent) > 0; n-- {
		for more := true; more; {
			p := c.far.sent[0]
			c.far.sent = c.far.sent[1:]
			c.heard(p)
			c.arriveLocked(p)
			more = p.kind == fData && len(c.far.sent) > 0 && c.far.sent[0].kind == fData
		}
	}
	c.cond.Broadcast()
}

func (c *mconn) arriveLocked(p parcel) {
	c.ready = append(c.ready, p.bytes...)
	if p.bytes == nil {
		c.readErr, c.writeErr = io.EOF, syscall.EPIPE
		if p.reset {
			c.ready, c.readErr = nil, syscall.ECONNRESET
		}
	}
}

// inject delivers a frame that the other end never sent.
func (c *mconn) inject(p parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard(p)
	c.arriveLocked(p)
	c.cond.Broadcast()
}

// cut loses the connection with all that is under way.
func (c *mconn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range []*mconn{c, c.far} {
		end.sent, end.ready = nil, nil
		end.readErr, end.writeErr = syscall.ECONNRESET, syscall.EPIPE
	}
	c.cond.Broadcast()
}

// SetLinger is what an abort calls.
func (c *mconn) SetLinger(int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = true
	return nil
}

func (c *mconn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.far.sent = nil
	if c.linger {
		c.sent = nil // a reset overtakes what it can
	}
	if !c.far.closed && c.far.readErr == nil {
		c.sent = append(c.sent, parcel{reset: c.linger})
	}
	if c.alarm != nil {
		c.alarm.Stop()
	}
	c.cond.Broadcast()
	return nil
}

func (c *mconn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alarm != nil {
		c.alarm.Stop()
		c.alarm = nil
	}
	c.deadline = t
	if left := time.Until(t); !t.IsZero() && left > 0 {
		c.alarm = time.AfterFunc(left, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cond.Broadcast()
		})
	}
	c.cond.Broadcast()
	return nil
}

func (c *mconn) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *mconn) SetWriteDeadline(t time.Time) error { return nil }
func (c *mconn) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (c *mconn) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
