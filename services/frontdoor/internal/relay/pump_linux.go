package relay

import (
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

const (
	// minSlice is what is moved at once at least, maxSlice at most: one pipe's
	// worth.
	minSlice = 4 << 10
	maxSlice = 1 << 20
)

// pump moves bytes until the end of from. The kernel moves them through a pipe
// that net holds as long as it copies, and it would copy for as long as the
// connection lives: two more files for each direction that is idle. So the copy
// is cut into slices that cannot block: as many bytes as are there, and as there
// is room for.
func pump(to, from *net.TCPConn, moved func(int64)) error {
	in, err := from.SyscallConn()
	if err != nil {
		return err
	}
	out, err := to.SyscallConn()
	if err != nil {
		return err
	}
	for {
		there, err := readable(in)
		if err != nil || there == 0 {
			return err
		}
		room, err := writable(out)
		if err != nil {
			return err
		}
		n, err := to.ReadFrom(&io.LimitedReader{R: from, N: int64(min(there, room, maxSlice))})
		moved(n)
		if err != nil {
			return err
		}
	}
}

type rawReader interface {
	Read(func(uintptr) bool) error
}

type rawWriter interface {
	Write(func(uintptr) bool) error
}

// readable waits for bytes and returns how many there are; 0 is the end.
func readable(c rawReader) (n int, err error) {
	waited := c.Read(func(fd uintptr) bool {
		n, err = available(int(fd)) // #nosec G115 -- a file's number
		return !errors.Is(err, unix.EAGAIN)
	})
	return n, errors.Join(waited, err)
}

func available(fd int) (int, error) {
	if n, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n > 0 {
		return n, err
	}
	// No bytes: is this the end, a reset, or not yet?
	for {
		var b [1]byte
		n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// writable waits for room and returns how much there surely is. The kernel calls
// a socket writable while a third of its buffer is free. It must be asked, for it
// tells of room only those who were told that there is none.
func writable(c rawWriter) (room int, err error) {
	waited := c.Write(func(fd uintptr) bool {
		room, err = free(int(fd)) // #nosec G115 -- a file's number
		return err != nil || room > 0
	})
	return room, errors.Join(waited, err)
}

func free(fd int) (int, error) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}} // #nosec G115 -- a file's number
	n, err := unix.Poll(poll, 0)
	if errors.Is(err, unix.EINTR) {
		return free(fd)
	}
	if err != nil || n == 0 {
		return 0, err
	}
	buffer, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return max(buffer/4, minSlice), err
}
