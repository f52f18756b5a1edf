package directory

import (
	"crypto/rand"
	"slices"
	"strings"

	"github.com/dialback/dialback/internal/hostname"
)

// systemLabels are, below the domain, the system's own; so is the domain itself.
// What they are used for comes first wherever names are matched, and a tenant
// who had one would be handed other agents' connections and credentials.
var systemLabels = []string{"api", "control", "proxy"}

const (
	// randomLength is 13 characters of 5 bits each: 65 bits, not to be guessed
	// and never drawn twice.
	randomLength = 13
	// randomAlphabet has 32 characters that nobody mistakes for each other.
	randomAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"
)

// Name is the name that a tunnel wants; all empty: a random one.
type Name struct {
	Hostname  string
	Subdomain string
	Port      uint16
}

// resolve returns the canonical name that is wanted, "" for a random one.
func (n Name) resolve(protocol Protocol, domain string) (string, error) {
	named := n.Subdomain != "" || n.Hostname != ""
	switch {
	case protocol == ProtocolTCP && named:
		return "", ErrInvalid.WithField("name", "a tcp tunnel has a port, not a hostname")
	case protocol != ProtocolTCP && n.Port != 0:
		return "", ErrInvalid.WithField("remote_port", "only a tcp tunnel has a port")
	case n.Port != 0:
		return PortName(n.Port), nil
	case n.Subdomain != "":
		label, err := hostname.Label(n.Subdomain)
		if err != nil {
			return "", err
		}
		return ParseName(label + "." + domain)
	case n.Hostname != "":
		name, err := ParseName(n.Hostname)
		if err == nil && PortOf(name) != 0 {
			err = ErrNameInvalid.WithMessage("%q is not a hostname", name)
		}
		return name, err
	}
	return "", nil
}

// eligible refuses what nobody may have, be it to bind or to reserve.
func (d *Directory) eligible(name string) error {
	if port := PortOf(name); port != 0 {
		return d.config.Ports.check(port)
	}
	base, domain := Base(name), d.config.Domain
	switch {
	case IsWildcard(name) && hostname.Within(domain, base):
		return ErrNameForbidden.WithMessage("%q includes the system's own names; choose a wildcard further below", name)
	case isSystem(base, domain):
		return ErrNameForbidden.WithMessage("%q is one of the system's own names; choose another one", name)
	case IsWildcard(name) && !strings.Contains(base, ".") && !hostname.Within(base, domain):
		return ErrNameForbidden.WithMessage("%q is a whole top-level domain; choose a wildcard further below", name)
	}
	return nil
}

// granted refuses what p's token does not include.
func granted(p Principal, name string) error {
	if p.Grants == nil {
		return nil
	}
	port := PortOf(name)
	if port != 0 && p.Grants.AllowsPort(port) || port == 0 && p.Grants.AllowsHost(name) {
		return nil
	}
	return ErrNotGranted.WithMessage("the token's grants do not include %q; ask for a token that does", name)
}

// free refuses a name that others have reserved, or that is below a wildcard
// that others have. The most specific reservation counts: above an own one
// nobody else's matters. A name outside the deployment's domain must be granted,
// or be reserved for the account.
func free(p Principal, name, domain string, levels []Level) error {
	var reserved *Reservation
	for _, l := range levels {
		if reserved == nil {
			reserved = l.Reservation
		}
		if l.Name != name && l.Claim != nil && l.Claim.Account != p.Account {
			return taken(name, l.Name, "%q is below %q, which belongs to another account; choose another name", name, l.Name)
		}
	}
	switch {
	case reserved != nil && reserved.Account != p.Account:
		return taken(name, reserved.Name, "%q is reserved for another account; choose another name", name)
	case reserved == nil && p.Grants == nil && PortOf(name) == 0 && !hostname.Within(Base(name), domain):
		return ErrNameForbidden.WithMessage("%q is not below %s; choose a name that is, or have it reserved or granted (bind:%s)", name, domain, name)
	}
	return nil
}

func taken(name, conflict, format string, args ...any) error {
	return ErrNameTaken.WithMessage(format, args...).WithMetadata("hostname", name).WithMetadata("conflict", conflict)
}

func isSystem(host, domain string) bool {
	return host == domain || slices.ContainsFunc(systemLabels, func(label string) bool {
		return hostname.Within(host, label+"."+domain)
	})
}

func randomName(domain string) string {
	var raw [randomLength]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	var b strings.Builder
	for _, v := range raw {
		b.WriteByte(randomAlphabet[v%byte(len(randomAlphabet))])
	}
	return b.String() + "." + domain
}
