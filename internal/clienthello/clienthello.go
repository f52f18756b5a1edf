// Package clienthello reads what a TLS client says first, and leaves the
// connection as if nobody had: so it can be handed on, still encrypted.
package clienthello

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

const (
	maxHello     = 16 << 10 // bytes, in however many records and segments
	helloTimeout = 10 * time.Second
)

var (
	errPeeked   = errors.New("peeked")
	errTooLong  = errors.New("the ClientHello is too long")
	errNotHello = errors.New("not a ClientHello")
)

// Hello is what a client says before anything is encrypted.
type Hello struct {
	ServerName string
	Protocols  []string // of ALPN
}

// Peek reads a ClientHello with crypto/tls's own parser, so that no two readers
// of it differ, and returns a connection that begins with it again. It takes up
// to 16 KiB over several records and segments, for at most 10 s.
func Peek(ctx context.Context, c net.Conn) (Hello, *Replayed, error) {
	if err := c.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return Hello{}, nil, err
	}
	rec := &recorder{Conn: c}
	h, err := readHello(ctx, rec)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	return h, &Replayed{Conn: c, head: rec.seen.Bytes()}, err
}

func readHello(ctx context.Context, c net.Conn) (h Hello, err error) {
	err = tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			h = Hello{ServerName: info.ServerName, Protocols: info.SupportedProtos}
			return nil, errPeeked
		},
	}).HandshakeContext(ctx)
	switch {
	case errors.Is(err, errPeeked):
		return h, nil
	case err == nil:
		return Hello{}, errNotHello // never: the callback always refuses
	}
	return Hello{}, err
}

// recorder keeps what is read, up to a limit, and writes nothing.
type recorder struct {
	net.Conn
	seen bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	room := maxHello - r.seen.Len()
	if room <= 0 {
		return 0, errTooLong
	}
	n, err := r.Conn.Read(p[:min(len(p), room)])
	r.seen.Write(p[:n])
	return n, err
}

func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

func (r *recorder) Close() error { return nil }

func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

func (r *recorder) SetDeadline(t time.Time) error { return r.SetReadDeadline(t) }

// Replayed is a connection whose first bytes are read a second time.
type Replayed struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (c *Replayed) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// Head is what was read and would be read again.
func (c *Replayed) Head() []byte { return c.head }

// CloseWrite ends the outgoing direction.
func (c *Replayed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// SetLinger is for whoever wants the peer to see a reset.
func (c *Replayed) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// unrecognizedName is TLS's fatal alert 112 in a record of its own.
var unrecognizedName = []byte{21, 3, 3, 0, 2, 2, 112}

const (
	refuseTimeout = time.Second
	refuseDrain   = 64 << 10
)

// Refuse tells the client that nothing here has the name it wants, and closes.
// Unread input would turn the close into a reset, which overtakes the alert.
func Refuse(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(refuseTimeout))
	if _, err := c.Write(unrecognizedName); err == nil {
		if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_, _ = io.CopyN(io.Discard, c, refuseDrain)
		}
	}
	_ = c.Close()
}
