package proxyconn

import (
	"context"
	"crypto/rand"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// ping is one that waits for its PONG.
type ping struct {
	data [pingLen]byte
	back chan struct{}
}

// roundTrip sends a PING and waits for its PONG. idle is asked with mu held.
func (l *link) roundTrip(ctx context.Context, idle func() bool) (time.Duration, error) {
	p := &ping{back: make(chan struct{})}
	_, _ = rand.Read(p.data[:]) // it never fails
	began := time.Now()
	l.mu.Lock()
	if l.err != nil || l.ping != nil || !idle() {
		defer l.mu.Unlock()
		if l.err != nil {
			return 0, l.err
		}
		return 0, ErrBusy
	}
	l.ping = p
	l.posted = append(l.posted, control{frame: pingFrame(proxyv1.FrameType_FRAME_TYPE_PING, p.data[:])})
	l.kickLocked()
	l.mu.Unlock()
	select {
	case <-p.back:
		return time.Since(began), nil
	case <-l.done:
		return 0, l.Err()
	case <-ctx.Done():
		l.mu.Lock()
		l.ping = nil
		l.mu.Unlock()
		return 0, ctx.Err()
	}
}

func pingFrame(kind proxyv1.FrameType, data []byte) []byte {
	frame := make([]byte, headerLen, headerLen+pingLen)
	putHeader(frame, kind, pingLen)
	return append(frame, data...)
}

// advance reads up to a frame that its end has to judge. What can be answered
// without knowing the exchange, at any frame's boundary, is done here.
func (l *link) advance() (proxyv1.FrameType, error) {
	for {
		if err := l.in.next(); err != nil {
			return 0, err
		}
		var err error
		switch {
		case l.in.kind == proxyv1.FrameType_FRAME_TYPE_PING:
			err = l.onPing()
		case l.in.kind == proxyv1.FrameType_FRAME_TYPE_PONG:
			err = l.onPong()
		case l.in.kind >= firstSkippable:
			_, err = l.in.all()
		default:
			return l.in.kind, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// onPing owes an answer. Only the newest: an end that pings faster than it
// reads gets fewer answers, not a queue.
func (l *link) onPing() error {
	data, err := l.pingData()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.pong = pingFrame(proxyv1.FrameType_FRAME_TYPE_PONG, data)
		l.kickLocked()
	}
	return nil
}

func (l *link) onPong() error {
	data, err := l.pingData()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ping != nil && string(l.ping.data[:]) == string(data) {
		close(l.ping.back)
		l.ping = nil
	}
	return nil
}

func (l *link) pingData() ([]byte, error) {
	kind := l.in.kind
	data, err := l.in.all()
	if err == nil && len(data) != pingLen {
		err = violation("%v of %d bytes", kind, len(data))
	}
	return data, err
}
