package directory_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"App.Example.com.": "app.example.com", "*.Dev.example.com": "*.dev.example.com", "tcp:20017": "tcp:20017",
		"bücher.example.com": "xn--bcher-kva.example.com",
		"":                   "", "*": "", "*.": "", "**.example.com": "", "*.*.example.com": "", "a.*.example.com": "", "*example.com": "",
		"tcp:": "", "tcp:0": "", "tcp:00017": "", "tcp:65536": "", "tcp:+80": "", "TCP:80": "", "udp:80": "", "*.tcp:80": "",
		"a..example.com": "", "../etc": "", "a\x00.example.com": "", "10.0.0.1": "", "*.10.0.0.1": "", "a/b.example.com": "",
		strings.Repeat("a.", 24) + "example.com": "", strings.Repeat("a", 64) + ".example.com": "",
	} {
		name, err := directory.ParseName(text)
		if name != want || (want == "") != errors.Is(err, directory.ErrNameInvalid) {
			t.Errorf("%q is read as %q, %v; want %q", text, name, err, want)
		}
	}
}

func TestAbove(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"app.example.com":        "",
		"a.dev.example.com":      "*.dev.example.com",
		"*.dev.example.com":      "",
		"*.a.dev.example.com":    "*.dev.example.com",
		"x.y.dev.example.com":    "*.y.dev.example.com *.dev.example.com",
		"shop.acme.org":          "*.acme.org",
		"a.shop.acme.org":        "*.shop.acme.org *.acme.org",
		"acme.org":               "",
		"example.com":            "",
		"com":                    "",
		"a.example.com.evil.org": "*.example.com.evil.org *.com.evil.org *.evil.org",
		"tcp:20017":              "",
	} {
		if got := strings.Join(directory.Above(name, "example.com"), " "); got != want {
			t.Errorf("above %s is %q, want %q", name, got, want)
		}
	}
	if got := directory.Above("a.b.localhost", "localhost"); !slices.Equal(got, []string{"*.b.localhost"}) {
		t.Errorf("below a domain of one label: %v", got)
	}
}

// FuzzParseName holds what keys are built on: one spelling, no slash, and nothing
// that is another kind of name.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"app.example.com", "*.dev.example.com", "tcp:20017", "*.tcp:1", "tcp:*.a", "*", "a/b", "例え.テスト"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, err := directory.ParseName(in)
		if err != nil {
			if name != "" {
				t.Fatalf("%q is refused and %q", in, name)
			}
			return
		}
		again, err := directory.ParseName(name)
		if err != nil || again != name {
			t.Fatalf("%q becomes %q, %v", name, again, err)
		}
		if directory.PortOf(name) != 0 {
			return
		}
		base, err := hostname.Normalize(directory.Base(name))
		if err != nil || base != directory.Base(name) || strings.ContainsAny(base, "/*:") {
			t.Fatalf("%q has the base %q, %v", name, base, err)
		}
		for _, above := range directory.Above(name, "example.com") {
			if !hostname.Within(base, directory.Base(above)) {
				t.Fatalf("%q is not below %q", name, above)
			}
		}
	})
}
