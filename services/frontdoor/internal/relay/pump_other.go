//go:build !linux

package relay

import (
	"io"
	"net"
)

// pump moves bytes until the end of from.
func pump(to, from *net.TCPConn, moved func(int64)) error {
	n, err := io.Copy(to, from)
	moved(n)
	return err
}
