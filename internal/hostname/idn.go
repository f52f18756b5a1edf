package hostname

import (
	"strings"

	"golang.org/x/net/idna"
)

// profile is UTS #46 as browsers process what users type: mapped, non-transitional.
// Hyphens in third and fourth place are left to real names such as "feature--x".
var profile = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.StrictDomainName(true),
	idna.BidiRule(),
	idna.CheckJoiners(true),
	idna.CheckHyphens(false),
)

// toASCII maps a name to lower case and A-labels. What it returns is ASCII, but
// not otherwise checked.
func toASCII(s string) (string, error) {
	if len(s) > maxInput {
		return "", invalid(s, tooLong)
	}
	if isASCII(s) {
		s = strings.ToLower(s)
		if !hasALabel(s) {
			return s, nil
		}
	}
	name, err := profile.ToASCII(s)
	if err != nil || !isASCII(name) {
		return "", invalid(s, "it is not a valid internationalized name; check its spelling")
	}
	if hasALabel(name) && !roundTrips(name) {
		return "", invalid(s, "a label that begins with xn-- is not valid; give the name in its own script")
	}
	return name, nil
}

// roundTrips refuses a second spelling of a name: punycode that decodes to plain
// ASCII, or to text that encodes differently.
func roundTrips(name string) bool {
	text, err := profile.ToUnicode(name)
	if err != nil || hasALabel(text) {
		return false
	}
	again, err := profile.ToASCII(text)
	return err == nil && again == name
}

// hasALabel wants s in lower case.
func hasALabel(s string) bool {
	return strings.HasPrefix(s, "xn--") || strings.Contains(s, ".xn--")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
