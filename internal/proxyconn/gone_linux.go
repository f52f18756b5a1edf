package proxyconn

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// States of a TCP connection whose other end has closed it, from
// include/net/tcp_states.h.
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// gone says whether the other end of c has closed or reset it, although input
// that nobody reads may stand before that news.
func gone(c net.Conn) bool {
	is := false
	withSocket(c, func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		is = err == nil && (info.State == tcpClose || info.State == tcpCloseWait)
	})
	return is
}

func withSocket(c net.Conn, f func(fd uintptr)) {
	if sc, ok := bottom(c).(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			_ = raw.Control(f)
		}
	}
}
