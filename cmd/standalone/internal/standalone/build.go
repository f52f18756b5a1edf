package standalone

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/apikey"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/auth"
	"github.com/dialback/dialback/services/connector"
	"github.com/dialback/dialback/services/frontdoor"
	"github.com/dialback/dialback/services/registry"
)

const (
	// LocalDomain needs no DNS: browsers take every name below it to this machine.
	LocalDomain = "localhost"
	// frontdoorDrain is what visitors have to finish when dialbackd stops.
	frontdoorDrain = 10 * time.Second
	// connectorDrain is short: there is no other connector to attach to.
	connectorDrain = time.Second
)

// build makes the parts, none of which runs yet.
func (s *Server) build() (err error) {
	// The frontdoor knows which ports it got, and everybody else needs them.
	if s.parts.frontdoor, err = s.newFrontdoor(); err != nil {
		return err
	}
	s.greeting = s.greet()
	if len(s.config.TLSCert) > 0 && !s.config.certified() {
		s.log.Warn("no certificate is good for the names below the domain: https URLs are not offered",
			"want", "*."+s.config.Domain, "certificates", s.config.TLSCert)
	}
	if s.parts.auth, err = s.newAuth(); err != nil {
		return err
	}
	if s.parts.registry, err = s.newRegistry(); err != nil {
		return err
	}
	s.parts.connector, err = s.newConnector()
	return err
}

func (s *Server) newAuth() (*auth.Service, error) {
	config := auth.Default()
	config.Listen = s.config.Admin
	config.Server = s.greeting.Agents
	config.CAPins = []tlsconf.Pin{s.pki.proxy.Pin()}
	config.OIDC = s.config.OIDC
	return auth.New(config, auth.Deps{
		Etcd: s.store.client, TLS: s.wires.identities[tlsconf.RoleAuth].server(), Listener: s.wires.servers[tlsconf.RoleAuth],
		Logger: s.log, Telemetry: s.tracing.parts[tlsconf.RoleAuth],
	})
}

func (s *Server) newRegistry() (*registry.Registry, error) {
	toAuth, err := s.wires.dial(tlsconf.RoleRegistry, tlsconf.RoleAuth)
	if err != nil {
		return nil, err
	}
	toConnector, err := s.wires.dial(tlsconf.RoleRegistry, tlsconf.RoleConnector)
	if err != nil {
		return nil, err
	}
	config := registry.Default(s.config.Domain)
	config.Ports = s.config.TCPPorts
	return registry.New(config, registry.Deps{
		Etcd: s.store.client, TLS: s.wires.identities[tlsconf.RoleRegistry].server(), Listener: s.wires.servers[tlsconf.RoleRegistry],
		Logger: s.log, Telemetry: s.tracing.parts[tlsconf.RoleRegistry], AssertionKeys: registry.AuthKeys(toAuth), Users: apikey.New(toAuth, time.Now),
		Connector: func(string, string) (grpc.ClientConnInterface, error) {
			return struct{ grpc.ClientConnInterface }{toConnector}, nil // the wires close it
		},
	})
}

func (s *Server) newConnector() (*connector.Connector, error) {
	toAuth, err := s.wires.dial(tlsconf.RoleConnector, tlsconf.RoleAuth)
	if err != nil {
		return nil, err
	}
	toRegistry, err := s.wires.dial(tlsconf.RoleConnector, tlsconf.RoleRegistry)
	if err != nil {
		return nil, err
	}
	control := "control." + s.config.Domain
	agentTLS, err := s.pki.agentFacing(control, "*."+control)
	if err != nil {
		return nil, err
	}
	config := connector.Default()
	config.NodeName, config.Domain, config.Address = nodeName, s.config.Domain, "memory"
	config.PublicHTTPPort, config.PublicHTTPSPort = s.publicPorts()
	config.ProxyCAPins = []tlsconf.Pin{s.pki.proxy.Pin()}
	config.DrainTimeout = connectorDrain
	return connector.New(config, connector.Deps{
		AgentListener: s.wires.agents, AgentTLS: agentTLS,
		ServiceListener: s.wires.servers[tlsconf.RoleConnector], ServiceTLS: s.wires.identities[tlsconf.RoleConnector].server(),
		Auth: toAuth, Registry: toRegistry, Logger: s.log,
		Telemetry: s.tracing.parts[tlsconf.RoleConnector], SpanExporter: s.tracing.upload(),
	})
}

func (s *Server) newFrontdoor() (*frontdoor.Frontdoor, error) {
	toAuth, err := s.wires.dial(tlsconf.RoleFrontdoor, tlsconf.RoleAuth)
	if err != nil {
		return nil, err
	}
	toRegistry, err := s.wires.dial(tlsconf.RoleFrontdoor, tlsconf.RoleRegistry)
	if err != nil {
		return nil, err
	}
	proxyTLS, err := s.pki.agentFacing("*.proxy." + s.config.Domain)
	if err != nil {
		return nil, err
	}
	config := frontdoor.Default()
	config.NodeName, config.Domain = nodeName, s.config.Domain
	config.HTTPListen, config.TLSListen, config.APIListen, config.APIPublic = s.config.HTTP, s.config.TLS, s.config.API, s.config.APIPublic
	config.Hold, config.IdleTimeout, config.AnswerTimeout = s.config.Hold, s.config.IdleTimeout, s.config.UpstreamTimeout
	config.DrainDelay, config.DrainTimeout = 0, frontdoorDrain // no load balancer has to notice
	for i, cert := range s.config.TLSCert {
		config.Certificates = append(config.Certificates, frontdoor.CertFile{Cert: cert, Key: s.config.TLSKey[i]})
	}
	for _, network := range s.config.TrustedProxies {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxies %q: want a network such as 10.0.0.0/8", network)
		}
		config.TrustedProxies = append(config.TrustedProxies, prefix)
	}
	return frontdoor.New(config, frontdoor.Deps{
		Registry: toRegistry, Auth: toAuth,
		Connector: func(string, string) (grpc.ClientConnInterface, error) {
			return s.wires.dial(tlsconf.RoleFrontdoor, tlsconf.RoleConnector)
		},
		ServiceTLS: s.wires.identities[tlsconf.RoleFrontdoor].server(), PeerTLS: s.wires.identities[tlsconf.RoleFrontdoor].client(tlsconf.RoleFrontdoor),
		ProxyTLS: proxyTLS, Control: func(c net.Conn, _ string) { s.wires.agents.hand(c) },
		Logger: s.log, Telemetry: s.tracing.parts[tlsconf.RoleFrontdoor], Metrics: s.metrics,
	})
}

// publicPorts are the ports in public URLs; https is offered where there is a
// certificate for the names below the domain.
func (s *Server) publicPorts() (http, https int) {
	http = cmp.Or(s.config.PublicHTTPPort, portOf(s.parts.frontdoor.HTTPAddr()))
	if s.config.certified() {
		https = cmp.Or(s.config.PublicHTTPSPort, portOf(s.parts.frontdoor.TLSAddr()))
	}
	return http, https
}

// greet collects what a user wants to know.
func (s *Server) greet() Greeting {
	front := s.parts.frontdoor
	g := Greeting{
		HTTP: front.HTTPAddr().String(), TLS: front.TLSAddr().String(), Admin: s.config.Admin,
		Agents: net.JoinHostPort(s.config.Domain, strconv.Itoa(cmp.Or(s.config.PublicHTTPSPort, portOf(front.TLSAddr())))),
		API:    front.APIAddr().String(), REST: front.APIURL(),
		Pin:    s.pki.proxy.Pin().String(),
		Domain: s.config.Domain, Data: s.config.Data,
	}
	http, https := s.publicPorts()
	scheme, port, standard := "http", http, 80
	if https != 0 {
		scheme, port, standard = "https", https, 443
	}
	g.Example = scheme + "://<name>." + s.config.Domain
	if port != standard {
		g.Example += ":" + strconv.Itoa(port)
	}
	return g
}

func portOf(addr net.Addr) int { return addr.(*net.TCPAddr).Port }
