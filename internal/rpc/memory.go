package rpc

import (
	"context"
	"net"

	"google.golang.org/grpc/test/bufconn"
)

// memoryBuffer is how many bytes one direction of an in-process connection
// holds before a writer waits.
const memoryBuffer = 256 << 10

// Memory is a listener inside the process: services that run together are wired
// with it instead of ports. TLS and identities are the same as over TCP.
type Memory struct{ *bufconn.Listener }

// NewMemory returns a listener that only Dial reaches.
func NewMemory() *Memory { return &Memory{bufconn.Listen(memoryBuffer)} }

// Dial connects to the listener; addr is not used.
func (m *Memory) Dial(ctx context.Context, _ string) (net.Conn, error) {
	return m.DialContext(ctx)
}
