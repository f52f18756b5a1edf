package relay

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
)

const (
	resolveEvery  = 30 * time.Second
	resolveWithin = 2 * time.Second
)

// Peers are the addresses from which other frontdoors hand connections over:
// those at which the node table says they take them, and configured networks.
type Peers struct {
	nodes    *nodes.Table
	networks proxyheader.Networks
	log      *slog.Logger
	current  atomic.Pointer[map[netip.Addr]bool]
	known    map[string][]netip.Addr // by host, of Run
}

// NewPeers returns peers that Run keeps.
func NewPeers(table *nodes.Table, networks proxyheader.Networks, log *slog.Logger) *Peers {
	p := &Peers{nodes: table, networks: networks, log: log, known: map[string][]netip.Addr{}}
	p.current.Store(&map[netip.Addr]bool{})
	return p
}

// Contain holds if one of the peers has the address.
func (p *Peers) Contain(a net.Addr) bool {
	if p.networks.Contain(a) {
		return true
	}
	tcp, ok := a.(*net.TCPAddr)
	return ok && (*p.current.Load())[tcp.AddrPort().Addr().Unmap().WithZone("")]
}

// Run follows the node table, and the names in it, until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	again := time.NewTicker(resolveEvery)
	defer again.Stop()
	for {
		changed := p.nodes.Changed()
		p.refresh(ctx)
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Peers) refresh(ctx context.Context) {
	known, next := map[string][]netip.Addr{}, map[netip.Addr]bool{}
	for _, n := range p.nodes.Frontdoors() {
		host, _, err := net.SplitHostPort(n.RelayAddress)
		if err != nil {
			continue
		}
		known[host] = p.resolve(ctx, host)
		for _, ip := range known[host] {
			next[ip.Unmap().WithZone("")] = true
		}
	}
	p.known = known
	p.current.Store(&next)
}

// resolve returns a host's addresses, those of before if nobody knows them now.
func (p *Peers) resolve(ctx context.Context, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		p.log.Warn("a frontdoor's relay address cannot be resolved", "host", host, "error", err)
		return p.known[host]
	}
	return list
}
