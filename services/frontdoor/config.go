package frontdoor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/dialback/dialback/internal/hostname"
)

// CertFile is a certificate with its chain, and its key, as PEM files. They are
// loaded again when they change.
type CertFile struct{ Cert, Key string }

// Config says how a frontdoor behaves.
type Config struct {
	// NodeName is the name in this frontdoor's certificate: the node's id is that
	// and a random suffix. A DNS label of at most 40 characters.
	NodeName string
	// Domain is the deployment's: agents know this frontdoor as
	// "<id>.proxy.<domain>".
	Domain string
	// HTTPListen and TLSListen are "host:port" to listen on, port 0 takes a free
	// one. HTTPListen may be empty: no visitors without TLS.
	HTTPListen, TLSListen string
	// TCPHost is the address on which the ports of TCP endpoints are listened on;
	// empty: that of TLSListen.
	TCPHost string
	// Certificates are for visitors' TLS. A name that none of them is good for is
	// refused before the handshake.
	Certificates []CertFile
	// TrustedProxies are the networks whose forwarded headers and sampled flag are
	// believed.
	TrustedProxies []netip.Prefix
	// AgentAddresses are "host:port" at which agents reach TLSListen, best first;
	// none: the address of the agents' own control connection.
	AgentAddresses []string
	// ProxyProtocolFrom are the networks of load balancers that say, by a PROXY
	// header, for whom they connect to HTTPListen, TLSListen and ports of TCP
	// endpoints. From there a header must come, from elsewhere none may.
	ProxyProtocolFrom []netip.Prefix
	// RelayListen is the "host:port" that takes, from other frontdoors, agents'
	// connections for this one; RelayAddress is where they reach it. Both may be
	// empty: agents reach this frontdoor by AgentAddresses alone.
	RelayListen, RelayAddress string
	// RelayFrom are networks from which other frontdoors connect to RelayListen,
	// beside the addresses at which they take relayed connections themselves.
	RelayFrom []netip.Prefix

	// Address is the "host:port" at which other frontdoors reach the service
	// listener; empty: they do not ask this one.
	Address string
	// APIListen is the "host:port" of REST: in clear text on a loopback address,
	// else by TLS with one of Certificates. Empty: there is none.
	APIListen string
	// APIPublic serves REST on TLSListen, too, as "api.<domain>".
	APIPublic bool
	// APIRate is how many REST requests one address may make a second.
	APIRate int

	// Hold is how long a visitor waits for an agent that is away for a moment.
	Hold time.Duration
	// DialbackTimeout is how long an agent has to come when it is asked.
	DialbackTimeout time.Duration
	// AnswerTimeout is how long a service may take from the end of a request to
	// the head of its answer; 0: for ever. An answer itself may take any time.
	AnswerTimeout time.Duration
	// IdleTimeout is how long a visitor's connection and a private one are kept
	// between two requests.
	IdleTimeout time.Duration
	// HeaderTimeout is how long a visitor may take for a request's head.
	HeaderTimeout time.Duration

	// MaxHeaderBytes bounds a request's head.
	MaxHeaderBytes int
	// MaxConns bounds the connections of each listener, MaxTickets the dial-backs
	// under way, MaxRequests the requests under way, MaxRequestsEndpoint those of
	// one endpoint, MaxHoldsEndpoint those of one endpoint that wait for its agent.
	// A connection to a TCP endpoint is a request, and counted apart.
	MaxConns, MaxTickets, MaxRequests, MaxRequestsEndpoint, MaxHoldsEndpoint int
	// MaxRelays bounds the agents' connections that are handed over to other nodes;
	// each takes two files.
	MaxRelays int

	// PoolFloor is how many connections wait for an agent's first visitor, on each
	// frontdoor that keeps a floor for it; 0: none. PoolFloorRate is how many a
	// second are dialled back for that at most, by all agents together.
	PoolFloor     int
	PoolFloorRate float64

	// DrainDelay is how long a stop keeps listening, for load balancers to notice;
	// DrainTimeout bounds the whole of it.
	DrainDelay, DrainTimeout time.Duration
}

// Default returns a configuration that lacks names, addresses and certificates.
func Default() Config {
	return Config{
		Hold:                5 * time.Second,
		DialbackTimeout:     10 * time.Second,
		AnswerTimeout:       2 * time.Minute,
		IdleTimeout:         90 * time.Second,
		HeaderTimeout:       10 * time.Second,
		MaxHeaderBytes:      32 << 10,
		MaxConns:            16_000,
		MaxRelays:           4_000,
		MaxTickets:          8_192,
		MaxRequests:         16_000,
		MaxRequestsEndpoint: 4_096,
		MaxHoldsEndpoint:    1_024,
		PoolFloor:           1,
		PoolFloorRate:       100,
		APIRate:             100,
		DrainDelay:          5 * time.Second,
		DrainTimeout:        30 * time.Second,
	}
}

const (
	maxNodeName  = 40 // with its suffix a DNS label
	maxPoolFloor = 64 // each costs every agent and a frontdoor a file
)

// Validate returns what is wrong, all of it.
func (c Config) Validate() error {
	var problems []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	label, err := hostname.Label(c.NodeName)
	want(err == nil && label == c.NodeName && len(label) <= maxNodeName,
		"node name %q: want a DNS label in lower case of at most %d characters", c.NodeName, maxNodeName)
	domain, err := hostname.Normalize(c.Domain)
	want(err == nil && domain == c.Domain, "domain %q: want a hostname in lower case", c.Domain)
	want(c.TLSListen != "", "TLS address: want host:port, agents dial it")
	want((c.RelayListen == "") == (c.RelayAddress == ""),
		"relay listener %q with address %q: want both or neither", c.RelayListen, c.RelayAddress)
	want(c.APIListen == "" || isLoopback(c.APIListen) || len(c.Certificates) > 0,
		"REST address %q: want a certificate, or a loopback address such as 127.0.0.1", c.APIListen)
	want(!c.APIPublic || len(c.Certificates) > 0, "REST as api.%s: want a certificate", c.Domain)
	for _, f := range c.Certificates {
		want(f.Cert != "" && f.Key != "", "certificate %q with key %q: want both files", f.Cert, f.Key)
	}
	want(c.Hold >= 0, "hold %v: want 0 or more", c.Hold)
	want(c.DialbackTimeout > 0, "dial-back timeout %v: want more than 0", c.DialbackTimeout)
	want(c.AnswerTimeout >= 0, "answer timeout %v: want 0 (none) or more", c.AnswerTimeout)
	want(c.IdleTimeout > 0 && c.HeaderTimeout > 0, "idle timeout %v and header timeout %v: want more than 0", c.IdleTimeout, c.HeaderTimeout)
	want(c.MaxHeaderBytes >= 4<<10, "max header bytes %d: want at least 4096", c.MaxHeaderBytes)
	for name, n := range map[string]int{
		"REST requests a second": c.APIRate, "connections": c.MaxConns, "relays": c.MaxRelays, "tickets": c.MaxTickets, "requests": c.MaxRequests,
		"requests of an endpoint": c.MaxRequestsEndpoint, "holds of an endpoint": c.MaxHoldsEndpoint,
	} {
		want(n > 0, "max %s %d: want at least 1", name, n)
	}
	want(c.PoolFloor >= 0 && c.PoolFloor <= maxPoolFloor, "pool floor %d: want 0 (none) to %d", c.PoolFloor, maxPoolFloor)
	want(c.PoolFloorRate > 0, "pool floor rate %v: want more than 0", c.PoolFloorRate)
	want(c.DrainDelay >= 0 && c.DrainTimeout > c.DrainDelay,
		"drain delay %v and timeout %v: want the timeout longer", c.DrainDelay, c.DrainTimeout)
	return errors.Join(problems...)
}

// isLoopback holds for an address that no other machine reaches.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
