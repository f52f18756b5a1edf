// Package debugport serves a process's metrics and profiles, to whoever can
// reach it: it has no access control.
package debugport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// headerTimeout bounds how long a request's head may take.
const headerTimeout = 10 * time.Second

// NewMetrics returns a registry with the metrics of the Go runtime and of the
// process.
func NewMetrics() *prometheus.Registry {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return metrics
}

// Port is where metrics and profiles are served.
type Port struct {
	listener net.Listener
	server   *http.Server
}

// Listen listens on an address, "host:port", or on none if it is empty.
func Listen(ctx context.Context, address string, metrics *prometheus.Registry) (*Port, error) {
	p := &Port{server: &http.Server{Handler: handler(metrics), ReadHeaderTimeout: headerTimeout}}
	if address == "" {
		return p, nil
	}
	var err error
	if p.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address); err != nil {
		return nil, fmt.Errorf("--debug: %w", err)
	}
	return p, nil
}

// Addr is where it listens; nil: nowhere.
func (p *Port) Addr() net.Addr {
	if p.listener == nil {
		return nil
	}
	return p.listener.Addr()
}

// Run serves until ctx ends.
func (p *Port) Run(ctx context.Context) error {
	if p.listener == nil {
		<-ctx.Done()
		return nil
	}
	defer context.AfterFunc(ctx, func() { _ = p.server.Close() })()
	if err := p.server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("--debug: %w", err)
	}
	return nil
}

func handler(metrics *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
