package tlsconf

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// pinPrefix names the hash, so that another one can come.
const pinPrefix = "sha256:"

// Pin is the SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469, 2.4).
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate's key.
func PinOf(cert *x509.Certificate) Pin {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// ParsePin reads "sha256:" and 64 hexadecimal digits or base64.
func ParsePin(s string) (Pin, error) {
	var p Pin
	digits, ok := strings.CutPrefix(strings.TrimSpace(s), pinPrefix)
	if !ok {
		return p, fmt.Errorf("pin %q does not begin with %q", s, pinPrefix)
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		raw, err = base64.StdEncoding.DecodeString(digits)
	}
	if err != nil || len(raw) != len(p) {
		return p, fmt.Errorf("pin %q: want %q and 64 hexadecimal digits", s, pinPrefix)
	}
	copy(p[:], raw)
	return p, nil
}

// ParsePins reads a list as ParsePin reads each.
func ParsePins(texts []string) ([]Pin, error) {
	pins := make([]Pin, len(texts))
	for i, text := range texts {
		var err error
		if pins[i], err = ParsePin(text); err != nil {
			return nil, err
		}
	}
	return pins, nil
}

// String returns the pin as ParsePin reads it.
func (p Pin) String() string { return pinPrefix + hex.EncodeToString(p[:]) }
