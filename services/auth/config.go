package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
)

// Config is what an operator decides. Default has values for all but Server and
// where to listen.
type Config struct {
	// Listen is the address to serve on, "host:port"; port 0 takes a free one.
	// Empty: Deps.Listener alone.
	Listen string
	// Server is where agents connect, "host:port": shown with each new authtoken.
	Server string
	// CAPins are of the authorities that sign what agents connect to, shown beside
	// Server. Empty: publicly trusted certificates.
	CAPins []tlsconf.Pin

	// AssertionValidity is how long a connector may rely on an answer of
	// Validate, unless the authtoken expires sooner.
	AssertionValidity time.Duration
	// MaxTunnels is how many tunnels a session may have; 0: no limit.
	MaxTunnels uint32
	// FailureBurst is how many wrong authtokens an address may present at once,
	// and FailureInterval after what time each further one.
	FailureBurst    int
	FailureInterval time.Duration
	// AuditAge is how long the history of changes is kept, AuditCount how many of
	// them at most.
	AuditAge   time.Duration
	AuditCount int
	// DrainTimeout bounds a stop on purpose.
	DrainTimeout time.Duration
}

// Default returns the values of a deployment that needs nothing special.
func Default() Config {
	return Config{
		AssertionValidity: 15 * time.Minute,
		MaxTunnels:        256,
		FailureBurst:      20,
		FailureInterval:   time.Second,
		AuditAge:          90 * 24 * time.Hour,
		AuditCount:        100_000,
		DrainTimeout:      10 * time.Second,
	}
}

// Validate says what is wrong and what to do.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Server); err != nil {
		return fmt.Errorf("server %q: want host:port, where agents connect, for instance tunnel.example.com:443", c.Server)
	}
	switch {
	case c.AssertionValidity < time.Second || c.AssertionValidity > time.Hour:
		return errors.New("assertion validity: want 1s to 1h")
	case c.FailureBurst < 1:
		return errors.New("failure burst: want at least 1")
	case c.FailureInterval <= 0:
		return errors.New("failure interval: want more than 0")
	case c.AuditAge <= 0 || c.AuditCount < 1:
		return errors.New("audit age and count: want more than 0")
	case c.DrainTimeout <= 0:
		return errors.New("drain timeout: want more than 0")
	}
	return nil
}

// Deps is what auth works with. All but Listener and Telemetry must be set.
type Deps struct {
	// Etcd is the store; the caller closes it after Run has returned.
	Etcd *clientv3.Client
	// TLS asks callers for their identity: see tlsconf.ServiceServer.
	TLS *tls.Config
	// Listener is served beside Config.Listen; Run closes it.
	Listener  net.Listener
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
}

func (d Deps) validate() error {
	switch {
	case d.Etcd == nil:
		return errors.New("auth needs an etcd client")
	case d.TLS == nil:
		return errors.New("auth needs a TLS configuration: callers are known by their certificates alone")
	case d.Logger == nil:
		return errors.New("auth needs a logger")
	}
	return nil
}
