//go:build !linux

package ingress

import (
	"context"
	"net"
)

func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: probes}
	return config.Listen(ctx, "tcp", address)
}
