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
}

// resolve returns the canonical hostname that is wanted, "" for a random one.
func (n Name) resolve(domain string) (string, error) {
	switch {
	case n.Subdomain != "":
		label, err := hostname.Label(n.Subdomain)
		if err != nil {
			return "", err
		}
		return hostname.Normalize(label + "." + domain)
	case n.Hostname != "":
		return hostname.Normalize(n.Hostname)
	}
	return "", nil
}

// allowed refuses what nobody may have and what p's grants do not include. A
// token without grants may have any name of the deployment; a name outside its
// domain must be granted.
func allowed(p Principal, host, domain string) error {
	if isSystem(host, domain) {
		return ErrNameForbidden.WithMessage("%q is one of the system's own names; choose another one", host)
	}
	if p.Grants == nil && !hostname.Within(host, domain) {
		return ErrNameForbidden.WithMessage("%q is not below %s; choose a name that is, or ask for a token with the grant bind:%s", host, domain, host)
	}
	if p.Grants != nil && !p.Grants.AllowsHost(host) {
		return ErrNotGranted.WithMessage("the token's grants do not include %q; ask for a token that does", host)
	}
	return nil
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
