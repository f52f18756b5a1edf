// Package hostname turns the names that agents and visitors send into one
// canonical form, or refuses them. Two spellings of one name must never become
// two owners, so everything that compares, stores or matches a name takes it
// from here.
package hostname

import (
	"strings"

	"github.com/dialback/dialback/internal/errs"
)

const (
	maxInput = 1024 // bytes looked at; more than any legal name in any script
	maxName  = 253  // bytes of a name in its A-label form
	maxLabel = 63   // bytes of one label in its A-label form
)

const tooLong = "the name is too long; a name has at most 253 characters"

// ErrInvalid is what every refusal of this package is (errors.Is).
var ErrInvalid = errs.New(errs.InvalidArgument, errs.ReasonNameInvalid,
	"that is not a hostname; use letters, digits and hyphens, with dots between the labels")

// Normalize returns the canonical form of a hostname: lower case, IDN labels as
// A-labels, one trailing dot removed. It refuses with ErrInvalid whatever is not
// a hostname, IP addresses and wildcards among it.
func Normalize(s string) (string, error) {
	name, err := toASCII(s)
	if err != nil {
		return "", err
	}
	name = strings.TrimSuffix(name, ".")
	if problem := check(name); problem != "" {
		return "", invalid(s, problem)
	}
	if endsInNumber(name) {
		return "", invalid(s, "IP addresses and names that end in a number cannot be used; give a DNS name")
	}
	return name, nil
}

// Label returns the canonical form of one label, the part between two dots, as
// it is given for a subdomain. It refuses with ErrInvalid.
func Label(s string) (string, error) {
	name, err := toASCII(s)
	if err != nil {
		return "", err
	}
	if strings.Contains(name, ".") {
		return "", invalid(s, "a subdomain is one label; leave out the dots")
	}
	if problem := checkLabel(name); problem != "" {
		return "", invalid(s, problem)
	}
	return name, nil
}

// FromHostHeader returns the canonical name in an HTTP Host header or :authority,
// whose port it drops. It refuses with ErrInvalid what Normalize refuses, and
// malformed ports.
func FromHostHeader(h string) (string, error) {
	host, port, found := strings.Cut(h, ":")
	if found && !validPort(port) {
		return "", invalid(h, "what follows the colon is not a port; use host or host:port")
	}
	return Normalize(host)
}

// Reversed writes a canonical name from its root on, so that all names below a
// domain share a prefix: "a.b.com" becomes "com/b/a".
func Reversed(host string) string {
	var b strings.Builder
	b.Grow(len(host))
	for rest := host; ; {
		i := strings.LastIndexByte(rest, '.')
		b.WriteString(rest[i+1:])
		if i < 0 {
			return b.String()
		}
		b.WriteByte('/')
		rest = rest[:i]
	}
}

// Within reports whether host is domain or a name below it. Both are canonical.
func Within(host, domain string) bool {
	if domain == "" {
		return false
	}
	above, ok := strings.CutSuffix(host, domain)
	return ok && (above == "" || strings.HasSuffix(above, "."))
}

// check says what is wrong with a name in A-label form, or "".
func check(name string) string {
	if len(name) > maxName {
		return tooLong
	}
	for label := range strings.SplitSeq(name, ".") {
		if problem := checkLabel(label); problem != "" {
			return problem
		}
	}
	return ""
}

// checkLabel says what is wrong with a label in A-label form, or "".
func checkLabel(label string) string {
	switch {
	case label == "":
		return "a label is empty; remove the extra dot"
	case len(label) > maxLabel:
		return "a label is too long; each has at most 63 characters between two dots"
	case label[0] == '-' || label[len(label)-1] == '-':
		return "a label begins or ends with a hyphen; remove it"
	}
	for i := range len(label) {
		if !isLDH(label[i]) {
			return "it has characters that names cannot have; use letters, digits and hyphens"
		}
	}
	return ""
}

func isLDH(c byte) bool {
	return 'a' <= c && c <= 'z' || isDigit(c) || c == '-'
}

func isDigit(c byte) bool {
	return '0' <= c && c <= '9'
}

// endsInNumber holds for everything that resolvers and browsers read as an IPv4
// address: "127.0.0.1", but also "0x7f.1" and "2130706433".
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// validPort accepts an empty port, which RFC 9110 allows behind a colon.
func validPort(port string) bool {
	if len(port) > 5 {
		return false
	}
	n := 0
	for i := range len(port) {
		if !isDigit(port[i]) {
			return false
		}
		n = n*10 + int(port[i]-'0')
	}
	return n <= 65535
}

func invalid(s, problem string) error {
	const shown = 80
	if len(s) > shown {
		s = s[:shown] + "..."
	}
	return ErrInvalid.WithMessage("%q is not usable as a hostname: %s", s, problem)
}
