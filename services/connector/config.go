package connector

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/connector/internal/session"
)

// Config says how a connector behaves.
type Config struct {
	// NodeName is the name in this connector's certificate: the node's id is that
	// and a random suffix. A DNS label of at most 40 characters.
	NodeName string
	// Domain is the deployment's: agents know this connector as
	// "<id>.control.<domain>".
	Domain string
	// Address is the "host:port" at which frontdoors reach ServiceListener.
	Address string
	// AgentAddresses are "host:port" for agents, in order of preference; none:
	// they come through a frontdoor's port.
	AgentAddresses []string
	// RelayAddress is the "host:port" at which frontdoors reach RelayListener; empty:
	// there is none.
	RelayAddress string
	// RelayFrom are the networks of frontdoors: who connects to RelayListener from
	// there is believed about whom it connects for.
	RelayFrom []netip.Prefix
	// ProxyProtocolFrom are the networks of load balancers that say, by a PROXY
	// header, for whom they connect to AgentListener. From there a header must come,
	// from elsewhere none may.
	ProxyProtocolFrom []netip.Prefix
	// PublicHTTPPort and PublicHTTPSPort are the ports in public URLs; 0: that
	// scheme is not offered. One of them must be.
	PublicHTTPPort, PublicHTTPSPort int
	// PingInterval is how often each side pings; PingTimeout, after how much
	// silence the other counts as dead.
	PingInterval, PingTimeout time.Duration
	// MaxSessions bounds the sessions of this connector, MaxTunnels the tunnels of
	// each.
	MaxSessions, MaxTunnels int
	// ProxyCAPins are the authorities of proxy connections' certificates.
	ProxyCAPins []tlsconf.Pin
	// Banner is a line for agents' owners, or empty.
	Banner string
	// DrainTimeout is how long agents may take to attach elsewhere at a stop.
	DrainTimeout time.Duration
}

// Default returns a configuration that lacks names, addresses and ports only.
func Default() Config {
	return Config{
		PingInterval: 10 * time.Second,
		PingTimeout:  15 * time.Second,
		MaxSessions:  15000,
		MaxTunnels:   256,
		DrainTimeout: 20 * time.Second,
	}
}

const (
	maxNodeName = 40 // with its suffix a DNS label
	maxBanner   = 1024
	// maxTunnels keeps the answers to one agent within what may be unread.
	maxTunnels = 500
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
	want(c.Address != "", "address: want the host:port at which frontdoors reach this connector")
	want((c.RelayAddress == "") == (len(c.RelayFrom) == 0),
		"relay address %q from networks %v: want both or neither", c.RelayAddress, c.RelayFrom)
	want(validPort(c.PublicHTTPPort) && validPort(c.PublicHTTPSPort) && c.PublicHTTPPort+c.PublicHTTPSPort > 0,
		"public ports %d and %d: want ports, at least one of them not 0", c.PublicHTTPPort, c.PublicHTTPSPort)
	want(c.PingInterval > 0 && c.PingTimeout >= c.PingInterval,
		"ping interval %v and timeout %v: want both positive, the timeout not the shorter", c.PingInterval, c.PingTimeout)
	want(c.MaxSessions > 0, "max sessions %d: want at least 1", c.MaxSessions)
	want(c.MaxTunnels > 0 && c.MaxTunnels <= maxTunnels, "max tunnels %d: want 1 to %d", c.MaxTunnels, maxTunnels)
	want(len(c.Banner) <= maxBanner, "banner: want at most %d bytes", maxBanner)
	want(c.DrainTimeout > 0, "drain timeout %v: want a positive one", c.DrainTimeout)
	return errors.Join(problems...)
}

func validPort(p int) bool { return 0 <= p && p <= 65535 }

func (c Config) pings() session.Pings {
	return session.Pings{Interval: c.PingInterval, Timeout: c.PingTimeout}
}
