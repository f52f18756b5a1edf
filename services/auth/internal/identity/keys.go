package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// assertionContext stands before every assertion that is signed, so that the
// signature can never be one of something else.
const assertionContext = "dialback-assertion-v1\x00"

// Keys are what all replicas share: the key that signs assertions, and the
// secret of trace MACs, which auth only hands out.
type Keys struct {
	Signing  ed25519.PrivateKey
	TraceMAC [32]byte
	Created  time.Time
}

// NewKeys draws keys.
func NewKeys(now time.Time) Keys {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	k := Keys{Signing: ed25519.NewKeyFromSeed(seed), Created: now.UTC()}
	rand.Read(k.TraceMAC[:])
	return k
}

// Public returns the key that verifies what Sign signs.
func (k Keys) Public() ed25519.PublicKey {
	return k.Signing.Public().(ed25519.PublicKey) //nolint:forcetypeassert // documented of ed25519.PrivateKey
}

// ID names the signing key: 16 hexadecimal digits made of the public key.
func (k Keys) ID() string {
	hash := sha256.Sum256(k.Public())
	return hex.EncodeToString(hash[:8])
}

// Sign signs a serialized assertion.
func (k Keys) Sign(assertion []byte) []byte {
	return ed25519.Sign(k.Signing, append([]byte(assertionContext), assertion...))
}

// String keeps the keys out of logs.
func (Keys) String() string { return "***" }

// GoString keeps the keys out of logs.
func (Keys) GoString() string { return "***" }

// MarshalText keeps the keys out of JSON, and so out of logs in that form.
func (Keys) MarshalText() ([]byte, error) { return []byte("***"), nil }
