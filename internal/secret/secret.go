// Package secret keeps secrets out of logs, errors and dumps: once a credential
// is inside a process it travels as a Text, which prints as "***".
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const shown = "***"

// Text is a text that only Reveal shows. It lies behind a pointer, so that
// reflection over a struct that has one in an unexported field prints an
// address, and == cannot be mistaken for a comparison.
type Text struct {
	value *string
}

// New returns s as a secret.
func New(s string) Text { return Text{value: &s} }

// Reveal returns the text itself: for the wire and for hashing, never for a log.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// Empty reports whether there is no text.
func (t Text) Empty() bool { return t.Reveal() == "" }

// Hash returns the SHA-256, which is what may be stored. That is enough for
// secrets of 256 random bits; a password wants a slow, salted hash.
func (t Text) Hash() [sha256.Size]byte { return sha256.Sum256([]byte(t.Reveal())) }

// Matches reports whether hash is that of t, in a time that does not depend on
// where they differ.
func (t Text) Matches(hash [sha256.Size]byte) bool {
	own := t.Hash()
	return subtle.ConstantTimeCompare(own[:], hash[:]) == 1
}

// String returns "***".
func (Text) String() string { return shown }

// Format writes "***" for every verb.
func (Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, shown) }

// LogValue returns "***".
func (Text) LogValue() slog.Value { return slog.StringValue(shown) }

// MarshalText returns "***", for JSON and YAML.
func (Text) MarshalText() ([]byte, error) { return []byte(shown), nil }
