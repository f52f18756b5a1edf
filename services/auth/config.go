package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/auth/internal/identity"
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
	// OIDC is the OpenID provider by whose word people get API keys; without an
	// issuer they get none.
	OIDC OIDC
	// AuditAge is how long the history of changes is kept, AuditCount how many of
	// them at most.
	AuditAge   time.Duration
	AuditCount int
	// DrainTimeout bounds a stop on purpose.
	DrainTimeout time.Duration
}

// OIDC says whom people log in with, and what they may do then. The tags are the
// flags, below --oidc-, of every program that has auth in it.
type OIDC struct {
	// Issuer is the provider's URL, ClientID this deployment's id there.
	Issuer   string `name:"issuer" placeholder:"URL" help:"OpenID provider that people log in with; none: nobody does."`
	ClientID string `name:"client-id" placeholder:"ID" help:"This deployment's id at the provider."`
	// RoleClaim is the claim by which roles are given: a text or a list of texts.
	RoleClaim string `name:"role-claim" default:"groups" placeholder:"CLAIM" help:"Claim by which roles are given."`
	// Roles are "<value of the claim>=<role>@<account>", for instance
	// "platform=admin@default". Of several the highest counts.
	Roles []string `name:"role" sep:"none" placeholder:"VALUE=ROLE@ACCOUNT" help:"What who has a value of the claim may do, such as platform=admin@default; repeat for several."`
	// ValidFor is how long a login counts.
	ValidFor time.Duration `name:"valid-for" default:"8h" help:"How long a login counts."`
}

// rules reads Roles.
func (o OIDC) rules() ([]identity.RoleRule, error) {
	rules := make([]identity.RoleRule, 0, len(o.Roles))
	for _, text := range o.Roles {
		at := strings.LastIndex(text, "=") // a value may have one
		role, account, ok := strings.Cut(text[at+1:], "@")
		level, err := principal.ParseRole(role)
		if at < 1 || !ok || account == "" || err != nil || level < principal.ReadOnly {
			return nil, fmt.Errorf("OIDC role %q: want <value>=<role>@<account>, the role read-only, operator or admin", text)
		}
		rules = append(rules, identity.RoleRule{Value: text[:at], Role: level, Account: account})
	}
	return rules, nil
}

// Validate says what is wrong; without an issuer nothing is.
func (o OIDC) Validate() error {
	if o.Issuer == "" {
		return nil
	}
	u, err := url.Parse(o.Issuer)
	loopback := err == nil && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback())
	switch _, bad := o.rules(); {
	case err != nil || u.Host == "" || u.Scheme != "https" && !loopback:
		return fmt.Errorf("OIDC issuer %q: want an https URL", o.Issuer)
	case o.ClientID == "" || o.RoleClaim == "":
		return errors.New("OIDC: give the client id and the claim that roles are given by, too")
	case o.ValidFor < time.Minute || o.ValidFor > 24*time.Hour:
		return errors.New("OIDC: a login is valid for 1m to 24h")
	default:
		return bad
	}
}

// Default returns the values of a deployment that needs nothing special.
func Default() Config {
	return Config{
		AssertionValidity: 15 * time.Minute,
		MaxTunnels:        256,
		FailureBurst:      20,
		FailureInterval:   time.Second,
		OIDC:              OIDC{RoleClaim: "groups", ValidFor: 8 * time.Hour},
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
	return c.OIDC.Validate()
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
