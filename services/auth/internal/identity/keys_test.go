package identity_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

func TestAnAssertionsSignatureIsNothingElses(t *testing.T) {
	t.Parallel()
	keys := identity.NewKeys(time.Now())
	signature := keys.Sign([]byte("text"))
	if !ed25519.Verify(keys.Public(), []byte("dialback-assertion-v1\x00text"), signature) {
		t.Error("the signature is not over the context and the text")
	}
	if ed25519.Verify(keys.Public(), []byte("text"), signature) {
		t.Error("the signature stands for the bare text")
	}
	if other := identity.NewKeys(time.Now()); other.ID() == keys.ID() || other.TraceMAC == keys.TraceMAC {
		t.Error("two draws are the same")
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	keys := identity.NewKeys(time.Now())
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		fmt.Fprintf(&out, verb+"\n", keys)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "keys", keys)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "keys", keys)
	for _, secret := range [][]byte{keys.Signing.Seed(), keys.TraceMAC[:]} {
		for _, form := range []string{
			fmt.Sprintf("%x", secret), fmt.Sprintf("%d", secret), base64.StdEncoding.EncodeToString(secret)[:40],
		} {
			if strings.Contains(out.String(), strings.Trim(form, "[]")) {
				t.Errorf("the output shows a key:\n%s", out.String())
			}
		}
	}
}
