package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The purposes of ports, behind a part's name; without one: where services call.
const (
	peers   = " peers"  // etcd among itself
	agents  = " agents" // a connector's, for agents
	relays  = " relays" // where frontdoors hand over
	plain   = " http"   // visitors without TLS
	secure  = " tls"    // visitors with TLS, and agents
	rest    = " rest"   // programs and operators
	haproxy = "haproxy-1"
)

func portNames() []string {
	var names []string
	for _, kind := range []string{Etcd, Auth, Registry, Connector} {
		names = append(names, replicas(kind)...)
	}
	for _, name := range replicas(Etcd) {
		names = append(names, name+peers)
	}
	for _, name := range replicas(Connector) {
		names = append(names, name+agents, name+relays)
	}
	for _, name := range replicas(Frontdoor) {
		names = append(names, name+relays, name+rest)
	}
	for _, name := range append(replicas(Frontdoor), haproxy) {
		names = append(names, name+plain, name+secure)
	}
	return names
}

// freePorts finds a port for each name, below those that the system gives to
// outgoing connections: a part that was killed must find its port free.
func freePorts(names []string) (map[string]int, error) {
	const first, last = 20_000, 32_000
	ports := make(map[string]int, len(names))
	port := first + rand.IntN(last-first) // #nosec G404 -- no secret
	for tries := 0; len(ports) < len(names); tries++ {
		if tries > last-first {
			return nil, fmt.Errorf("%d free ports between %d and %d: there are only %d", len(names), first, last, len(ports))
		}
		if port++; port >= last {
			port = first
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		ports[names[len(ports)]] = port
	}
	return ports, nil
}
