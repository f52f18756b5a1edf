package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/connector"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	daemon.Flags
	Domain            string         `required:"" help:"The deployment's domain."`
	Listen            string         `default:"127.0.0.1:7403" help:"Where frontdoors call, host:port."`
	Address           string         `required:"" help:"Where frontdoors reach --listen, host:port."`
	AgentListen       string         `default:"127.0.0.1:7443" help:"Where agents connect, host:port."`
	AgentAddress      []string       `help:"Where agents reach --agent-listen, host:port, in order of preference."`
	ProxyProtocolFrom []netip.Prefix `help:"Network of load balancers that begin each connection to --agent-listen with a PROXY header (v1 or v2), for instance 10.0.0.0/8; several."`
	RelayListen       string         `help:"Where frontdoors hand over agents' connections, host:port in the cluster's network; empty: nowhere."`
	RelayAddress      string         `help:"Where frontdoors reach --relay-listen, host:port."`
	RelayFrom         []netip.Prefix `help:"Network of the frontdoors that hand over, for instance 10.0.0.0/24; several."`
	AgentCert         string         `required:"" type:"path" help:"Certificate of control.<domain> and *.control.<domain>, PEM. Reloaded when it changes."`
	AgentKey          string         `required:"" type:"path" help:"Its key, PEM."`
	PublicHTTP        int            `name:"public-http-port" default:"80" help:"Port of http URLs; 0: none."`
	PublicHTTPS       int            `name:"public-https-port" default:"443" help:"Port of https URLs; 0: none."`
	ProxyCAPin        []string       `name:"proxy-ca-pin" help:"Pin of an authority of proxy connections, sha256:<hex>; several during a rotation."`
	MaxSessions       int            `default:"15000" help:"How many agents' sessions are held at most."`
	MaxTunnels        int            `default:"256" help:"How many tunnels one session may have."`
	PingInterval      time.Duration  `default:"10s" help:"How often each side pings."`
	PingTimeout       time.Duration  `default:"15s" help:"After how much silence the other side counts as dead."`
	DrainTimeout      time.Duration  `default:"20s" help:"How long agents may take to attach elsewhere at a stop."`
	Banner            string         `help:"A line for agents' owners."`
	Auth              string         `required:"" help:"Where auth is, a gRPC target such as dns:///auth:7401."`
	Registry          string         `required:"" help:"Where the registry is, a gRPC target such as dns:///registry:7402."`
}

func (f *flags) config(name string) (c connector.Config, err error) {
	c = connector.Default()
	c.NodeName, c.Domain, c.Address, c.AgentAddresses = name, f.Domain, f.Address, f.AgentAddress
	c.ProxyProtocolFrom, c.RelayAddress, c.RelayFrom = f.ProxyProtocolFrom, f.RelayAddress, f.RelayFrom
	if (f.RelayListen == "") != (f.RelayAddress == "") {
		return c, fmt.Errorf("--relay-listen %q with --relay-address %q: give both or neither", f.RelayListen, f.RelayAddress)
	}
	c.PublicHTTPPort, c.PublicHTTPSPort = f.PublicHTTP, f.PublicHTTPS
	c.PingInterval, c.PingTimeout, c.DrainTimeout = f.PingInterval, f.PingTimeout, f.DrainTimeout
	c.MaxSessions, c.MaxTunnels, c.Banner = f.MaxSessions, f.MaxTunnels, f.Banner
	if c.ProxyCAPins, err = tlsconf.ParsePins(f.ProxyCAPin); err != nil {
		return c, fmt.Errorf("--proxy-ca-pin: %w", err)
	}
	return c, c.Validate()
}
