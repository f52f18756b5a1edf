package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/dialback/dialback/internal/secret"
)

const (
	authtokenPrefix = "dbt_"
	resumePrefix    = "dbr_"
	secretBytes     = 32 // 256 bits
	tokenIDBytes    = 8
	agentIDBytes    = 16

	authtokenLength = len(authtokenPrefix) + 2*tokenIDBytes + 1 + 2*secretBytes
)

// Authtoken is what an agent presents: "dbt_<id>_<secret>".
type Authtoken struct {
	ID   string // the public part
	Text secret.String
}

// newAuthtoken draws one.
func newAuthtoken() Authtoken {
	id := randomHex(tokenIDBytes)
	return Authtoken{ID: id, Text: secret.String(authtokenPrefix + id + "_" + randomHex(secretBytes))}
}

// ParseAuthtoken reads what an agent presented. Anything but the exact form is
// refused with ErrTokenMissing, before any store is asked.
func ParseAuthtoken(presented secret.String) (Authtoken, error) {
	s := presented.Reveal()
	if len(s) != authtokenLength {
		return Authtoken{}, ErrTokenMissing
	}
	rest, ok := strings.CutPrefix(s, authtokenPrefix)
	id, key, cut := strings.Cut(rest, "_")
	if !ok || !cut || !isTokenID(id) || !isHex(key, 2*secretBytes) {
		return Authtoken{}, ErrTokenMissing
	}
	return Authtoken{ID: id, Text: presented}, nil
}

// newResumeToken draws what proves that an agent is the same as before.
func newResumeToken() secret.String {
	return secret.String(resumePrefix + randomHex(secretBytes))
}

func newAgentID() string { return randomHex(agentIDBytes) }

func isTokenID(s string) bool { return isHex(s, 2*tokenIDBytes) }

func isAgentID(s string) bool { return isHex(s, 2*agentIDBytes) }

// Hash returns what is kept of a secret.
func Hash(s secret.String) [sha256.Size]byte { return sha256.Sum256([]byte(s.Reveal())) }

// matches compares in a time that does not tell where the two differ.
func matches(s secret.String, hash [sha256.Size]byte) bool {
	own := Hash(s)
	return subtle.ConstantTimeCompare(own[:], hash[:]) == 1
}
