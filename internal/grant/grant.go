// Package grant is the grammar of what an authtoken may do, and the one place
// that matches it: auth refuses what does not parse, connector and registry ask
// whether a bind is granted.
//
//	bind:app.example.com        this name
//	bind:*.dev.example.com      every name below dev.example.com, at any depth, but not dev.example.com
//	bind:tcp:20017              this port
//	bind:tcp:20000-20100        these ports, both ends included
package grant

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/hostname"
)

// MaxLength is how many bytes one grant may have, written out.
const MaxLength = 300

const (
	verb     = "bind:"
	tcp      = "tcp:"
	wildcard = "*."
)

// ErrMalformed is what every refusal of Parse is (errors.Is).
var ErrMalformed = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument,
	`that is not a grant; write one like "bind:app.example.com", "bind:*.dev.example.com" or "bind:tcp:20000-20100"`)

// Grant is one thing that a token may do. It is comparable; only Parse makes one.
type Grant struct {
	host        string // canonical; "" for ports
	below       bool   // the names below host instead of host itself
	first, last uint16 // ports; 0 for names
}

// Parse reads a grant. It is strict: what it does not fully understand it refuses
// with ErrMalformed, for a grant that was read too widely cannot be taken back.
func Parse(s string) (Grant, error) {
	if len(s) > MaxLength {
		return Grant{}, malformed(s, fmt.Sprintf("it is longer than %d characters", MaxLength))
	}
	what, ok := strings.CutPrefix(s, verb)
	if !ok {
		return Grant{}, malformed(s, `it does not begin with "bind:"`)
	}
	if ports, ok := strings.CutPrefix(what, tcp); ok {
		return parsePorts(s, ports)
	}
	return parseHost(s, what)
}

func parseHost(s, what string) (Grant, error) {
	domain, below := strings.CutPrefix(what, wildcard)
	if strings.Contains(domain, "*") {
		return Grant{}, malformed(s, `"*" stands alone in front, as in "bind:*.example.com"`)
	}
	host, err := hostname.Normalize(domain)
	if err != nil {
		return Grant{}, malformed(s, "what is granted is no hostname").WithCause(err)
	}
	return Grant{host: host, below: below}, nil
}

func parsePorts(s, ports string) (Grant, error) {
	from, to, isRange := strings.Cut(ports, "-")
	first, ok := parsePort(from)
	if !ok {
		return Grant{}, malformed(s, "ports are numbers from 1 to 65535")
	}
	last := first
	if isRange {
		if last, ok = parsePort(to); !ok {
			return Grant{}, malformed(s, "ports are numbers from 1 to 65535")
		}
	}
	if last < first {
		return Grant{}, malformed(s, "the range of ports ends before it begins")
	}
	return Grant{first: first, last: last}, nil
}

// parsePort reads digits alone: no sign, no leading zero.
func parsePort(s string) (uint16, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}

// String writes the grant in its one canonical form.
func (g Grant) String() string {
	switch {
	case g.host != "" && g.below:
		return verb + wildcard + g.host
	case g.host != "":
		return verb + g.host
	case g.first == g.last:
		return fmt.Sprintf("%s%s%d", verb, tcp, g.first)
	default:
		return fmt.Sprintf("%s%s%d-%d", verb, tcp, g.first, g.last)
	}
}

// AllowsHost reports whether the grant includes a canonical hostname.
func (g Grant) AllowsHost(host string) bool {
	if g.below {
		return host != g.host && hostname.Within(host, g.host)
	}
	return g.host != "" && host == g.host
}

// AllowsPort reports whether the grant includes a TCP port.
func (g Grant) AllowsPort(port uint16) bool {
	return port != 0 && g.first <= port && port <= g.last
}

func malformed(s, problem string) *errs.Error {
	const shown = 80
	if len(s) > shown {
		s = s[:shown] + "..."
	}
	return ErrMalformed.WithMessage(
		`%q is not a grant: %s; write one like "bind:app.example.com", "bind:*.dev.example.com" or "bind:tcp:20000-20100"`, s, problem)
}
