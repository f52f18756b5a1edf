package hostname_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/idna"

	"github.com/dialback/dialback/internal/hostname"
)

// FuzzNormalize holds what the rest of the system builds on: an accepted name has
// one spelling, is made of legal labels and is no address.
func FuzzNormalize(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	for _, s := range []string{"Bücher.example.", "例え.テスト", "www。example．com｡", "a--b.c", "xn--bcher-kva.a", "ß.ς"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, err := hostname.Normalize(in)
		if err != nil {
			if !errors.Is(err, hostname.ErrInvalid) || name != "" {
				t.Fatalf("Normalize(%q) = %q, %v", in, name, err)
			}
			return
		}
		again, err := hostname.Normalize(name)
		if err != nil || again != name {
			t.Fatalf("%q -> %q -> %q, %v", in, name, again, err)
		}
		checkCanonical(t, name)
		for label := range strings.SplitSeq(name, ".") {
			if got, err := hostname.Label(label); err != nil || got != label {
				t.Fatalf("Label(%q) = %q, %v", label, got, err)
			}
		}
		if got, err := hostname.FromHostHeader(name + ":443"); err != nil || got != name {
			t.Fatalf("FromHostHeader(%q:443) = %q, %v", name, got, err)
		}
	})
}

func checkCanonical(t *testing.T, name string) {
	t.Helper()
	if len(name) == 0 || len(name) > 253 {
		t.Fatalf("%q has %d bytes", name, len(name))
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		t.Fatalf("%q has illegal characters", name)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		t.Fatalf("%q is an address", name)
	}
	text, err := idna.Lookup.ToUnicode(name)
	if err != nil {
		return // hyphens in third and fourth place, which this profile refuses
	}
	if back, err := hostname.Normalize(text); err == nil && back != name {
		t.Fatalf("%q has a second spelling %q, which becomes %q", name, text, back)
	}
}
