package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Visitor makes requests through the load balancer, each on a connection of its
// own.
type Visitor struct {
	url       string
	transport *http.Transport
}

// NewVisitor returns a visitor of the cluster's agent.
func NewVisitor(c *Cluster) *Visitor {
	if c.config.OnePort {
		v := newVisitor(c.URL, c.TLS)
		v.transport.TLSClientConfig = &tls.Config{RootCAs: c.public, MinVersion: tls.VersionTLS13}
		return v
	}
	return newVisitor(c.URL, c.HTTP)
}

func newVisitor(url, front string) *Visitor {
	return &Visitor{url: url, transport: &http.Transport{
		DisableKeepAlives: true,
		// The name is below localhost, which not every resolver knows.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, front)
		},
	}}
}

// Close gives back what the visitor holds.
func (v *Visitor) Close() { v.transport.CloseIdleConnections() }

// ConnectionError is the loss of a connection, as opposed to a wrong answer.
type ConnectionError struct{ Err error }

// Error implements error.
func (e *ConnectionError) Error() string { return "connection: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ConnectionError) Unwrap() error { return e.Err }

// Get makes one request. What is not the sample service's answer is an error.
func (v *Visitor) Get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := v.transport.RoundTrip(req)
	if err != nil {
		return &ConnectionError{err}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	err = errors.Join(err, resp.Body.Close())
	switch {
	case err != nil:
		return &ConnectionError{err}
	case resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "Hello from behind Dialback."):
		return fmt.Errorf("%s, %s: %.200s", resp.Status, resp.Header.Get("Dialback-Error"), body)
	}
	return nil
}
