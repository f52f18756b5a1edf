package directory

import (
	"strconv"
	"strings"

	"github.com/dialback/dialback/internal/hostname"
)

// An endpoint's name is a hostname; a wildcard, which stands for all names below
// one that have no claim of their own; or a port of TCP endpoints. All three are
// one space of names: whatever keeps or matches a claim keeps and matches them
// alike. Neither a star nor a colon is ever part of a hostname.
const (
	wildcardPrefix = "*."
	portPrefix     = "tcp:"
)

// maxLabels bounds the labels of a name: a bind looks at each wildcard above it.
const maxLabels = 24

// ParseName returns the canonical form of an endpoint's name.
func ParseName(s string) (string, error) {
	if digits, ok := strings.CutPrefix(s, portPrefix); ok {
		port, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || port == 0 || PortName(uint16(port)) != s {
			return "", ErrNameInvalid.WithMessage("%.80q is not a port; write one like %q", s, PortName(20017))
		}
		return s, nil
	}
	rest, wildcard := strings.CutPrefix(s, wildcardPrefix)
	host, err := hostname.Normalize(rest)
	if err != nil {
		return "", err
	}
	if strings.Count(host, ".") >= maxLabels {
		return "", ErrNameInvalid.WithMessage("%.80q has too many labels; at most %d", s, maxLabels)
	}
	if wildcard {
		return wildcardPrefix + host, nil
	}
	return host, nil
}

// PortName is the name of a port's endpoint.
func PortName(port uint16) string {
	return portPrefix + strconv.FormatUint(uint64(port), 10)
}

// PortOf returns the port that a canonical name stands for, 0 for a hostname.
func PortOf(name string) uint16 {
	digits, ok := strings.CutPrefix(name, portPrefix)
	if !ok {
		return 0
	}
	port, _ := strconv.ParseUint(digits, 10, 16) // 0 for what is no port
	return uint16(port)
}

// IsWildcard reports whether a canonical name stands for the names below it.
func IsWildcard(name string) bool { return strings.HasPrefix(name, wildcardPrefix) }

// Base is the hostname below which a wildcard's names are; of a hostname, itself.
func Base(name string) string { return strings.TrimPrefix(name, wildcardPrefix) }

// Above returns the wildcards that a canonical name is below, nearest first. In
// the deployment's domain those that would include the system's own names are
// left out, outside of it those of a single label: nobody can have either.
func Above(name, domain string) []string {
	if PortOf(name) != 0 {
		return nil
	}
	var list []string
	for base := Base(name); ; {
		_, parent, ok := strings.Cut(base, ".")
		if !ok || hostname.Within(domain, parent) || !strings.Contains(parent, ".") && !hostname.Within(parent, domain) {
			return list
		}
		list = append(list, wildcardPrefix+parent)
		base = parent
	}
}
