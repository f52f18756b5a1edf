package ingress

import (
	"net"
	"syscall"
	"testing"
)

func TestADeadVisitorIsProbed(t *testing.T) {
	t.Parallel()
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	visitor, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	conn, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ level, option, value int }{
		"keep-alive": {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		"idle":       {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
		"interval":   {syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
		"count":      {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
	} {
		err := raw.Control(func(fd uintptr) {
			if got, err := syscall.GetsockoptInt(int(fd), want.level, want.option); err != nil || got != want.value {
				t.Errorf("%s: %d, %v; want %d", name, got, err, want.value)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
