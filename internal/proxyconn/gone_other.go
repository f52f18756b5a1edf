//go:build !linux

package proxyconn

import "net"

// gone cannot be told here; a blocked write ends when the local service reads
// or closes.
func gone(net.Conn) bool { return false }
