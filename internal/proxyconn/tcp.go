package proxyconn

import (
	"errors"
	"io"
	"net"
	"time"
)

// bottom unwraps TLS and other layers down to the socket.
func bottom(c net.Conn) net.Conn {
	for {
		layer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = layer.NetConn()
	}
}

// abort closes c so that its far end sees a reset where the kernel can send
// one, and without a TLS farewell, which is a write and could block.
func abort(c net.Conn) {
	c = bottom(c)
	if tcp, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// keepAlive lets the kernel find a dead peer. It probes only silent
// connections; a bound on unacknowledged data (TCP_USER_TIMEOUT) would kill
// every visitor who reads slowly.
func keepAlive(c net.Conn) {
	if tcp, ok := bottom(c).(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3,
		})
	}
}

// closeWrite ends c's outgoing direction, errors.ErrUnsupported if it cannot.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// DrainClose closes c in order though input may be unread. A plain close would
// answer that input with a reset, which can overtake and destroy what c has
// still to deliver. So it ends the outgoing direction and reads on, for at most
// a second and 256 KiB.
func DrainClose(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(abortTimeout))
	if closeWrite(c) == nil {
		_, _ = io.CopyN(io.Discard, c, abortBudget)
	}
	return c.Close()
}
