package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/dialback/dialback/internal/secret"
)

const (
	authtokenPrefix = "dbt_"
	apiKeyPrefix    = "dbk_"
	resumePrefix    = "dbr_"
	secretBytes     = 32 // 256 bits
	tokenIDBytes    = 8  // of one that nobody has chosen
	agentIDBytes    = 16

	maxTokenID = 63
)

// PresentedToken is an authtoken or an API key as somebody presented it: "<prefix><id>_<secret>".
type PresentedToken struct {
	ID   string // the public part
	Text secret.String
}

// newSecret draws what a token with an id is known by: its whole text.
func newSecret(kind Kind, id string) secret.String {
	return secret.String(kind.prefix() + id + "_" + randomHex(secretBytes))
}

// ParseAuthtoken reads what an agent presented. Anything but the exact form is
// refused with ErrTokenMissing, before any store is asked.
func ParseAuthtoken(presented secret.String) (PresentedToken, error) {
	return parseToken(presented, authtokenPrefix, ErrTokenMissing)
}

func parseAPIKey(presented secret.String) (PresentedToken, error) {
	return parseToken(presented, apiKeyPrefix, ErrKeyMissing)
}

func parseToken(presented secret.String, prefix string, missing error) (PresentedToken, error) {
	rest, ok := strings.CutPrefix(presented.Reveal(), prefix)
	id, key, cut := strings.Cut(rest, "_")
	if !ok || !cut || !isTokenID(id) || !isHex(key, 2*secretBytes) {
		return PresentedToken{}, missing
	}
	return PresentedToken{ID: id, Text: presented}, nil
}

// newResumeToken draws what proves that an agent is the same as before.
func newResumeToken() secret.String {
	return secret.String(resumePrefix + randomHex(secretBytes))
}

func newAgentID() string { return randomHex(agentIDBytes) }

// isTokenID: an underscore would end it, a slash would leave its key.
func isTokenID(s string) bool { return isSlug(s, maxTokenID) }

func isAgentID(s string) bool { return isHex(s, 2*agentIDBytes) }

// isSlug reports whether s is 1 to limit lower-case letters, digits and hyphens.
func isSlug(s string, limit int) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= limit
}

// Hash returns what is kept of a secret.
func Hash(s secret.String) [sha256.Size]byte { return sha256.Sum256([]byte(s.Reveal())) }

// matches compares in a time that does not tell where the two differ.
func matches(s secret.String, hash [sha256.Size]byte) bool {
	own := Hash(s)
	return subtle.ConstantTimeCompare(own[:], hash[:]) == 1
}
