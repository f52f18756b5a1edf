package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/services/frontdoor"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	daemon.Flags
	Domain            string         `required:"" help:"Domain of the deployment."`
	HTTPListen        string         `default:"" help:"Where visitors without TLS are served, host:port; empty: nowhere."`
	TLSListen         string         `default:"127.0.0.1:7443" help:"Where visitors and agents are served, host:port."`
	TCPHost           string         `name:"tcp-listen-host" default:"" help:"Address on which the ports of tcp endpoints are listened on; empty: that of --tls-listen."`
	PublicCert        []string       `type:"path" help:"Certificate for visitors, PEM with its chain; several. Reloaded when it changes."`
	PublicKey         []string       `type:"path" help:"Its key, PEM; one for each certificate, in the same order."`
	TrustedProxy      []netip.Prefix `help:"Network whose forwarded headers are believed, for instance 10.0.0.0/8; several."`
	AgentAddress      []string       `help:"host:port at which agents reach this frontdoor, best first; none: their control connection's address."`
	ProxyProtocolFrom []netip.Prefix `help:"Network of load balancers that begin each connection with a PROXY header (v1 or v2), for instance 10.0.0.0/8; several."`
	RelayListen       string         `help:"Where other frontdoors hand over agents' connections for this one, host:port in the cluster's network; empty: nowhere."`
	RelayAddress      string         `help:"Where other frontdoors reach --relay-listen, host:port."`
	RelayFrom         []netip.Prefix `help:"Network from which other frontdoors connect to --relay-listen, if not from the host of their own --relay-address; several."`
	Registry          string         `required:"" help:"gRPC target of the registry, for instance dns:///registry:7402."`
	Auth              string         `required:"" help:"gRPC target of auth."`
	ProxyCert         string         `required:"" type:"path" help:"Certificate for *.proxy.<domain>, PEM with its CA. Reloaded when it changes."`
	ProxyKey          string         `required:"" type:"path" help:"Its key, PEM."`
	Listen            string         `default:"" help:"Where other frontdoors ask this one, host:port; empty: nowhere."`
	Address           string         `default:"" help:"Where other frontdoors reach --listen, host:port."`
	APIListen         string         `name:"api-listen" default:"" help:"Where REST is served, host:port: on a loopback address in clear text, else by TLS with --public-cert; empty: nowhere."`
	APIPublic         bool           `name:"api-public" help:"Serve REST on --tls-listen as api.<domain>, too."`
	APIRate           int            `name:"api-rate" default:"100" help:"How many REST requests one address may make a second."`
	Hold              time.Duration  `default:"5s" help:"How long a visitor waits for an agent that is away for a moment."`
	AnswerTimeout     time.Duration  `default:"2m" help:"How long a service may take until its answer begins; 0: for ever."`
	IdleTimeout       time.Duration  `default:"90s" help:"How long connections are kept between two requests."`
	PoolFloor         int            `default:"1" help:"Connections that wait for an agent's first visitor, on the frontdoors that keep them for it; 0: none."`
	PoolFloorRate     float64        `default:"100" help:"How many of these a second are asked for at most, of all agents together."`
	DrainDelay        time.Duration  `default:"5s" help:"How long a stop goes on listening."`
	DrainTimeout      time.Duration  `default:"30s" help:"Bound of a stop."`
}

func (f *flags) config(name string) (frontdoor.Config, error) {
	c := frontdoor.Default()
	if len(f.PublicCert) != len(f.PublicKey) {
		return c, fmt.Errorf("%d public certificates and %d keys: give one key for each", len(f.PublicCert), len(f.PublicKey))
	}
	for i, cert := range f.PublicCert {
		c.Certificates = append(c.Certificates, frontdoor.CertFile{Cert: cert, Key: f.PublicKey[i]})
	}
	c.NodeName, c.Domain = name, f.Domain
	c.HTTPListen, c.TLSListen, c.TCPHost = f.HTTPListen, f.TLSListen, f.TCPHost
	c.TrustedProxies, c.AgentAddresses = f.TrustedProxy, f.AgentAddress
	c.ProxyProtocolFrom = f.ProxyProtocolFrom
	c.RelayListen, c.RelayAddress, c.RelayFrom = f.RelayListen, f.RelayAddress, f.RelayFrom
	c.Address, c.APIListen, c.APIPublic, c.APIRate = f.Address, f.APIListen, f.APIPublic, f.APIRate
	c.Hold, c.AnswerTimeout, c.IdleTimeout = f.Hold, f.AnswerTimeout, f.IdleTimeout
	c.PoolFloor, c.PoolFloorRate = f.PoolFloor, f.PoolFloorRate
	c.DrainDelay, c.DrainTimeout = f.DrainDelay, f.DrainTimeout
	return c, nil
}
