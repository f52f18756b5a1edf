package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	// alpn tells a frontdoor's port that this is a proxy connection.
	alpn = "dialback-proxy/1"
	// headStart is how long an address has before the next one is tried too.
	headStart = 2 * time.Second
	// maxAddresses caps a server's list.
	maxAddresses = 8
)

var errALPN = errors.New("the server does not speak " + alpn)

// tlsError marks a failure behind the TCP connection.
type tlsError struct{ error }

func (e tlsError) Unwrap() error { return e.error }

// attempt is what is the same for all addresses of a dial-back.
type attempt struct {
	policy     policy
	control    netip.AddrPort
	serverName string
	pins       []tlsconf.Pin
	sessions   *tlsconf.Sessions
}

// result of one address.
type result struct {
	address string
	conn    *tls.Conn
	err     error
}

// race tries the addresses in order, the next one when the last has failed or
// has had its head start. The first one that stands wins; the others are closed.
func (a attempt) race(ctx context.Context, addresses []string) (result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, len(addresses))
	var failures []error
	running, next := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if next == len(addresses) && running == 0 {
			return result{}, errors.Join(failures...)
		}
		select {
		case <-timer.C:
			if next < len(addresses) {
				address := addresses[next]
				go func() { results <- a.dial(ctx, address) }()
				next, running = next+1, running+1
				timer.Reset(headStart)
			}
		case r := <-results:
			running--
			if r.err == nil {
				go discard(results, running)
				return r, nil
			}
			failures = append(failures, r.err)
			timer.Reset(0)
		}
	}
}

// discard closes the connections that came too late.
func discard(results <-chan result, running int) {
	for range running {
		if r := <-results; r.conn != nil {
			_ = r.conn.Close()
		}
	}
}

func (a attempt) dial(ctx context.Context, address string) result {
	conn, err := a.connect(ctx, address)
	return result{address: address, conn: conn, err: err}
}

// connect dials, a second time where the server does not know the session that it
// was offered.
func (a attempt) connect(ctx context.Context, address string) (*tls.Conn, error) {
	if err := a.policy.address(ctx, address, a.control.Addr()); err != nil {
		return nil, err
	}
	conn, err := a.handshake(ctx, address)
	if errors.Is(err, tlsconf.ErrNotResumed) {
		conn, err = a.handshake(ctx, address)
	}
	return conn, err
}

func (a attempt) handshake(ctx context.Context, address string) (*tls.Conn, error) {
	dialer := net.Dialer{
		ControlContext: connectable(a.control.Addr()),
		// The only test of a connection in use. A limit on unacknowledged data
		// would kill visitors who read slowly.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3},
	}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config := a.sessions.PinnedClient(a.serverName, a.pins)
	config.NextProtos = []string{alpn}
	config.DynamicRecordSizingDisabled = true // a frame is a record
	conn := tls.Client(raw, config)
	err = conn.HandshakeContext(ctx)
	if err == nil && conn.ConnectionState().NegotiatedProtocol != alpn {
		err = errALPN
	}
	if err != nil {
		_ = raw.Close()
		return nil, tlsError{err}
	}
	return conn, nil
}
