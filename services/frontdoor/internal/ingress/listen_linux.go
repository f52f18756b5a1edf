package ingress

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// listenTCP sets the probes on the listener: what it accepts inherits them. To set
// them on each connection would cost four system calls.
func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		failed := raw.Control(func(fd uintptr) { err = setProbes(int(fd)) })
		return errors.Join(failed, err)
	}}
	return config.Listen(ctx, "tcp", address)
}

func setProbes(fd int) error {
	return errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, int(probes.Idle.Seconds())),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, int(probes.Interval.Seconds())),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, probes.Count),
	)
}
