package rpc

import (
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/resolver"
)

// anyOf has every connection begin at a random one of a target's addresses: else
// all callers are at the first one.
const anyOf = `{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}`

// list resolves "list:///host:port,host:port": replicas whose addresses are
// known beforehand. One that cannot be reached is passed over.
type list struct{}

// Scheme implements resolver.Builder.
func (list) Scheme() string { return "list" }

// OverrideAuthority names one of them, for a list is no name.
func (list) OverrideAuthority(target resolver.Target) string {
	first, _, _ := strings.Cut(target.Endpoint(), ",")
	return first
}

// Build implements resolver.Builder.
func (list) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	var state resolver.State
	for address := range strings.SplitSeq(target.Endpoint(), ",") {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("target %q: %w", target.URL.String(), err)
		}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	return list{}, cc.UpdateState(state)
}

// ResolveNow implements resolver.Resolver: the list does not change.
func (list) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (list) Close() {}
