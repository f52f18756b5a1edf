package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/debugport"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
)

// Process is what a service's process has before its service.
type Process struct {
	Log      *slog.Logger
	Tracing  *telemetry.Telemetry
	Identity *tlsconf.Service
	// Metrics are served with --debug.
	Metrics *prometheus.Registry

	closers []func(context.Context) error
}

// OnClose adds what is done when the service has ended, the last added first.
func (p *Process) OnClose(f func(context.Context) error) { p.closers = append(p.closers, f) }

// Dial calls a service of a role; the caller closes the connection.
func (p *Process) Dial(target, role string) (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(rpc.ClientConfig{Target: target, TLS: p.Identity.Client(role), Telemetry: p.Tracing})
	if err != nil {
		return nil, fmt.Errorf("call %s at %q: %w", role, target, err)
	}
	return conn, nil
}

// Connect is Dial with a connection that is closed with the process.
func (p *Process) Connect(target, role string) (*grpc.ClientConn, error) {
	conn, err := p.Dial(target, role)
	if err != nil {
		return nil, err
	}
	p.OnClose(func(context.Context) error { return conn.Close() })
	return conn, nil
}

// Listen opens a TCP listener. It is closed with the process, if not before.
func (p *Process) Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	p.OnClose(func(context.Context) error {
		_ = l.Close() // it mostly is
		return nil
	})
	return l, nil
}

// serveDebug serves metrics and profiles until the process ends; an empty address:
// nowhere.
func (p *Process) serveDebug(ctx context.Context, address string) error {
	port, err := debugport.Listen(ctx, address, p.Metrics)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- port.Run(ctx) }()
	p.OnClose(func(context.Context) error {
		end()
		return <-done
	})
	return nil
}

// close undoes all, and exports the last spans.
func (p *Process) close(ctx context.Context) error {
	var failures []error
	for _, f := range slices.Backward(p.closers) {
		failures = append(failures, f(ctx))
	}
	return errors.Join(append(failures, p.Tracing.Shutdown(ctx))...)
}
