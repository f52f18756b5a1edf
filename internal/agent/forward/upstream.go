package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Upstream is a local service.
type Upstream struct {
	// Address is "host:port".
	Address string
	// TLS is how to speak to a service that wants it; nil: clear text.
	TLS *tls.Config
}

// TLSOptions say how an https service is verified.
type TLSOptions struct {
	// Insecure leaves the certificate unverified.
	Insecure bool
	// Roots that may sign it; nil: the system's.
	Roots *x509.CertPool
}

// ParseUpstream reads what the agent's owner wrote: a port, host:port, or a URL
// with the scheme http or https and nothing behind the host.
func ParseUpstream(s string, options TLSOptions) (Upstream, error) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		s = "localhost:" + s // which the port's check refuses where it is none
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return Upstream{}, upstreamError(s)
	}
	port, known := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if !known || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Upstream{}, upstreamError(s)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Upstream{}, upstreamError(s)
	}
	up := Upstream{Address: net.JoinHostPort(strings.ToLower(u.Hostname()), port)}
	if u.Scheme == "https" {
		up.TLS = &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ServerName:         u.Hostname(),
			RootCAs:            options.Roots,
			InsecureSkipVerify: options.Insecure, // #nosec G402 -- the owner of the service asked for it
			NextProtos:         []string{"http/1.1"},
		}
	}
	return up, nil
}

// ParseTCPUpstream reads what the owner of a tcp tunnel wrote: a port, or
// host:port.
func ParseTCPUpstream(s string) (Upstream, error) {
	address := s
	if !strings.Contains(s, ":") {
		address = "localhost:" + s
	}
	host, port, err := net.SplitHostPort(address)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ ") {
		return Upstream{}, fmt.Errorf("%q is no local service: give a port or host:port", s)
	}
	return Upstream{Address: net.JoinHostPort(strings.ToLower(host), strconv.FormatUint(n, 10))}, nil
}

func upstreamError(s string) error {
	return fmt.Errorf("%q is no local service: give a port, host:port, http://host:port or https://host:port", s)
}

// String is the service as the agent's owner sees it: https is said, http is not.
func (u Upstream) String() string {
	if u.TLS != nil {
		return "https://" + u.Address
	}
	return u.Address
}

// errUpstreamTLS marks a failure behind the TCP connection.
var errUpstreamTLS = errors.New("TLS with the local service")

// dial opens a private connection.
func (u Upstream) dial(ctx context.Context, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", u.Address)
	if err != nil || u.TLS == nil {
		return raw, err
	}
	conn := tls.Client(raw, u.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("%w: %w", errUpstreamTLS, err)
	}
	return conn, nil
}
