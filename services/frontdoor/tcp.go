package frontdoor

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/quota"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/tcpport"
)

// cutBefore is how long before the end of a drain TCP visitors are cut off: what
// comes behind them needs time, too.
const cutBefore = time.Second

func (f *Frontdoor) newPorts(finder *reach.Finder, quotas *quota.Quota) *tcpport.Ports {
	host, _, _ := net.SplitHostPort(f.secure.Addr().String()) // a listener's address has both
	if given, _, err := net.SplitHostPort(f.cfg.TLSListen); err == nil && given == "" {
		host = "" // all addresses, of both kinds
	}
	return tcpport.New(tcpport.Config{
		Host: cmp.Or(f.cfg.TCPHost, host), Domain: f.cfg.Domain, Behind: f.cfg.ProxyProtocolFrom,
		MaxConns: f.cfg.MaxRequests, MaxConnsPort: f.cfg.MaxRequestsEndpoint,
	}, tcpport.Deps{
		Finder: finder, Quota: quotas, Keep: f.dialer.Keep, MACKey: f.traceKey.Get,
		Report: f.node.SetPortProblems, Observe: newTCPMetrics(f.deps.Metrics),
		Telemetry: f.deps.Telemetry, Logger: f.log,
	})
}

// finishVisits lets visitors of all kinds finish side by side.
func (f *Frontdoor) finishVisits(ctx context.Context) error {
	var all sync.WaitGroup
	var requests, connections error
	all.Go(func() { requests = f.server.drain(ctx) })
	all.Go(func() {
		until := ctx
		if deadline, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			until, cancel = context.WithDeadline(ctx, deadline.Add(-cutBefore))
			defer cancel()
		}
		connections = f.ports.Drain(until)
	})
	all.Wait()
	return errors.Join(requests, connections)
}
