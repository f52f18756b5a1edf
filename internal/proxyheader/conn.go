package proxyheader

import (
	"net"
	"net/netip"
	"time"
)

// Networks are those from which a header must come; from all others it is just
// bytes, for anybody could send one.
type Networks []netip.Prefix

// Contain holds if the address is in one of them.
func (n Networks) Contain(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, prefix := range n {
		if prefix.Contains(ip) {
			return true
		}
	}
	return false
}

// Conn is a TCP connection whose other end may be behind the peer.
type Conn struct {
	*net.TCPConn
	header Header
}

// NewConn returns a connection that is its peer's own until a header says more.
func NewConn(c *net.TCPConn) *Conn { return &Conn{TCPConn: c} }

// Expect reads the header that must come first. Nothing else may use the
// connection meanwhile.
func (c *Conn) Expect() error {
	if err := c.SetReadDeadline(time.Now().Add(Timeout)); err != nil {
		return err
	}
	h, err := Read(c.TCPConn)
	if err != nil {
		return err
	}
	c.header = h
	return c.SetReadDeadline(time.Time{})
}

// ExpectRelayed is Expect for what a node hands over: version 2.
func (c *Conn) ExpectRelayed() error {
	if err := c.Expect(); err != nil {
		return err
	}
	if c.header.Version != 2 {
		return errNotV2
	}
	return nil
}

// RemoteAddr is the address of the connection's other end.
func (c *Conn) RemoteAddr() net.Addr {
	if c.header.Source != nil {
		return c.header.Source
	}
	return c.TCPConn.RemoteAddr()
}

// TCP is the connection to the peer, for those who move its bytes as they are.
func (c *Conn) TCP() *net.TCPConn { return c.TCPConn }

// Via is the id of the node that has handed the connection over, empty if none
// has.
func (c *Conn) Via() string { return c.header.Via }
