package registry

import (
	"errors"
	"fmt"
	"time"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/portrange"
)

// Config is what a registry is told.
type Config struct {
	// Domain is the deployment's: subdomains and random names live below it.
	Domain string
	// LeaseTTL is how long a node lives without a heartbeat, in whole seconds.
	LeaseTTL time.Duration
	// Grace is how long a name is kept for an agent that is not there, counted
	// only while this registry serves.
	Grace time.Duration
	// Park is how long a random name, or a port, is kept for its tunnel after its end.
	Park time.Duration
	// Ports are those of TCP endpoints; none: there are no TCP endpoints.
	Ports portrange.Range
	// PortRest is how long a port that was given up goes to no other account: no
	// shorter than frontdoors serve a stale copy.
	PortRest time.Duration
	// AuditKeep and AuditRecords say how long, and how many records, of the past
	// are kept.
	AuditKeep    time.Duration
	AuditRecords int
	// DrainTimeout bounds a stop.
	DrainTimeout time.Duration
	// History is how many changes are kept for watches to be resumed.
	History int
}

// Default returns the configuration of a deployment with this domain.
func Default(domain string) Config {
	return Config{
		Domain:       domain,
		LeaseTTL:     10 * time.Second,
		Grace:        time.Minute,
		Park:         30 * 24 * time.Hour,
		PortRest:     time.Hour,
		AuditKeep:    7 * 24 * time.Hour,
		AuditRecords: 100_000,
		DrainTimeout: 10 * time.Second,
		History:      1 << 18,
	}
}

// Validate says what is wrong, all of it.
func (c Config) Validate() error {
	var faults []error
	if name, err := hostname.Normalize(c.Domain); err != nil || name != c.Domain {
		faults = append(faults, fmt.Errorf("the domain %q is not a hostname in lower case", c.Domain))
	}
	if c.LeaseTTL < time.Second || c.LeaseTTL%time.Second != 0 {
		faults = append(faults, fmt.Errorf("a lease of %v: want whole seconds", c.LeaseTTL))
	}
	if c.Grace <= 0 || c.Park <= 0 || c.DrainTimeout <= 0 || c.History <= 0 {
		faults = append(faults, errors.New("grace, park, drain timeout and history must be positive"))
	}
	if c.PortRest < 0 || c.AuditKeep <= 0 || c.AuditRecords <= 0 {
		faults = append(faults, errors.New("the rest of ports must not be negative; what is kept of the audit must be positive"))
	}
	return errors.Join(faults...)
}
