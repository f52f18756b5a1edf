//go:build unix

package proxyconn

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// pending says whether c has input or an end of input that nobody has read yet.
func pending(c net.Conn) bool {
	sc, ok := bottom(c).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	is := false
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		is = err != unix.EAGAIN && err != unix.EINTR
	})
	return is
}
