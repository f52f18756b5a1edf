package agentconfig

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/tlsconf"
)

// defaultPort is where a server listens unless its address says otherwise.
const defaultPort = "443"

// maxPins bounds the pins of a server: the current ones and their successors.
const maxPins = 16

// Server is what the agent knows of a server.
type Server struct {
	// Authtoken is the secret that the server's operator gave out.
	Authtoken secret.String `yaml:"authtoken"`
	// Pins of the authorities that may sign the server's certificates,
	// "sha256:<hex>". Without any, the system's authorities may.
	Pins []string `yaml:"pins,omitempty"`
	// Domain of the deployment; empty: the address's host.
	Domain string `yaml:"domain,omitempty"`
}

// TLSPins returns the pins.
func (s Server) TLSPins() ([]tlsconf.Pin, error) {
	return tlsconf.ParsePins(s.Pins)
}

func (s Server) validate(address string) error {
	if !tokenShaped(s.Authtoken.Reveal()) {
		return fmt.Errorf(`authtoken: not a token; one looks like "dbt_<id>_<secret>"`)
	}
	if len(s.Pins) > maxPins {
		return fmt.Errorf("pins: %d of them, at most %d", len(s.Pins), maxPins)
	}
	if _, err := s.TLSPins(); err != nil {
		return fmt.Errorf("pins: %w", err)
	}
	_, err := DomainOf(address, s.Domain)
	return err
}

// tokenShaped catches a token cut short by copying; the server decides.
func tokenShaped(s string) bool {
	id, secret, ok := strings.Cut(strings.TrimPrefix(s, "dbt_"), "_")
	return strings.HasPrefix(s, "dbt_") && ok && id != "" && secret != "" && len(s) <= 512 &&
		!slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c >= 0x7f })
}

// ParseAddress returns the canonical form, "host:port", of a server's address.
// The port may be left out: 443.
func ParseAddress(s string) (string, error) {
	host, port := s, defaultPort
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
		return "", fmt.Errorf("server address %q: %q is not a port; want host:port", s, port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(ip.String(), port), nil
	}
	name, err := hostname.Normalize(host)
	if err != nil {
		return "", fmt.Errorf("server address %q: %w; want host:port", s, err)
	}
	return net.JoinHostPort(name, port), nil
}

// DomainOf returns the deployment's domain: domain if it is given, else the
// host of the address, which then must be a name.
func DomainOf(address, domain string) (string, error) {
	if domain != "" {
		name, err := hostname.Normalize(domain)
		if err != nil {
			return "", fmt.Errorf("domain: %w", err)
		}
		return name, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("server address: %w", err)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", fmt.Errorf("server address %s is an IP address, which does not say the deployment's domain: add --domain", address)
	}
	return host, nil
}
