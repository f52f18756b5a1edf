package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/dialback/dialback/internal/hostname"
)

// errForbidden is what the policy says of an address.
var errForbidden = errors.New("this agent's configuration does not allow the address")

// policy says where this agent may be sent. A server that has fallen into the
// wrong hands must not turn its agents into scanners of the networks they are in.
type policy struct {
	domain string // the deployment's
	host   string // of the configured server, a name or an IP
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// serverName returns the canonical form of the name that a dial-back verifies:
// it must be a frontdoor's, below proxy.<domain>.
func (p policy) serverName(s string) (string, error) {
	proxies := "proxy." + p.domain
	name, err := hostname.Normalize(s)
	if err != nil || !hostname.Within(name, proxies) || name == proxies {
		return "", errForbidden
	}
	return name, nil
}

// address checks one "host:port" that a server sent. control is the address of
// its control connection. A name passes if it is the deployment's; which IPs it
// may lead to is checked when it is dialled, see connectable.
func (p policy) address(ctx context.Context, hostport string, control netip.Addr) error {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil || strings.ContainsAny(host, "%\x00") {
		return errForbidden
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return p.ip(ctx, ip.Unmap(), control)
	}
	name, err := hostname.Normalize(host)
	if err != nil || !hostname.Within(name, p.domain) && name != p.host {
		return errForbidden
	}
	return nil
}

// ip allows the server's own addresses and no others.
func (p policy) ip(ctx context.Context, ip, control netip.Addr) error {
	if ip == control || ip.String() == p.host {
		return nil
	}
	own, err := p.lookup(ctx, p.host)
	if err == nil && slices.ContainsFunc(own, func(a netip.Addr) bool { return a.Unmap() == ip }) {
		return nil
	}
	return errForbidden
}

// connectable returns a check for net.Dialer of the IP that a name has led to:
// DNS is not trusted either.
func connectable(control netip.Addr) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %w", errForbidden, err)
		}
		if !reachable(to.Addr().Unmap(), control) {
			return errForbidden
		}
		return nil
	}
}

// reachable allows public addresses, and of the others the kind that the control
// connection's server has itself.
func reachable(ip, control netip.Addr) bool {
	kind := kindOf(ip)
	return kind == public || kind != never && kind == kindOf(control)
}

// kind is how far an address reaches.
type kind int

const (
	public kind = iota
	private
	linkLocal
	loopback
	never
)

// shared is the address space between a carrier and its customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func kindOf(ip netip.Addr) kind {
	switch {
	case ip.IsLoopback():
		return loopback
	case ip.IsLinkLocalUnicast():
		return linkLocal
	case ip.IsPrivate(), shared.Contains(ip):
		return private
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(), ip.Is4() && (ip.As4()[0] == 0 || ip.As4()[0] >= 240):
		return never
	default:
		return public
	}
}
