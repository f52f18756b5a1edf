package grant_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/grant"
	"github.com/dialback/dialback/internal/hostname"
)

func TestParseWritesOneForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"bind:app.example.com":          "bind:app.example.com",
		"bind:App.Example.COM.":         "bind:app.example.com",
		"bind:bücher.example":           "bind:xn--bcher-kva.example",
		"bind:*.dev.example.com":        "bind:*.dev.example.com",
		"bind:*.localhost":              "bind:*.localhost",
		"bind:tcp:20000-20100":          "bind:tcp:20000-20100",
		"bind:tcp:20000":                "bind:tcp:20000",
		"bind:tcp:20000-20000":          "bind:tcp:20000",
		"bind:tcp:1-65535":              "bind:tcp:1-65535",
		"bind:tcp":                      "bind:tcp",
		"bind:*.xn--bcher-kva.example.": "bind:*.xn--bcher-kva.example",
	} {
		g, err := grant.Parse(text)
		if err != nil || g.String() != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", text, g, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "bind", "bind:", "app.example.com", "BIND:app.example.com", " bind:app.example.com", "bind: app.example.com",
		"serve:app.example.com", "bind:*", "bind:*.", "bind:**.example.com", "bind:*.*.example.com", "bind:a*.example.com",
		"bind:app.*.com", "bind:*example.com", "bind:192.0.2.1", "bind:*.192.0.2.1", "bind:app..example.com", "bind:a/b",
		"bind:app.example.com:443", "bind:udp:20000", "bind:tcp:", "bind:tcp:0", "bind:tcp:65536", "bind:tcp:+80", "bind:tcp:080",
		"bind:tcp:80-", "bind:tcp:-80", "bind:tcp:80-79", "bind:tcp:80-90-100", "bind:tcp:80 - 90", "bind:tcp:*", "bind:tcp:http",
		"bind:tcp:80,90", "bind:app.example.com\n", "bind:" + strings.Repeat("a.", 200) + "com",
	} {
		g, err := grant.Parse(text)
		if !errors.Is(err, grant.ErrMalformed) {
			t.Errorf("Parse(%q) = %q, %v; want ErrMalformed", text, g, err)
		}
		if g != (grant.Grant{}) {
			t.Errorf("Parse(%q) answers the grant %q beside its error", text, g)
		}
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	set, err := grant.ParseAll([]string{"bind:app.example.com", "bind:*.dev.example.com", "bind:tcp:20000-20100", "bind:tcp:443"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"app.example.com":         true,
		"x.app.example.com":       false,
		"example.com":             false,
		"x.dev.example.com":       true,
		"x.y.dev.example.com":     true,
		"dev.example.com":         false,
		"xdev.example.com":        false,
		"dev.example.com.evil":    false,
		"":                        false,
		"*.dev.example.com.other": false,
	} {
		if got := set.AllowsHost(host); got != want {
			t.Errorf("AllowsHost(%q) = %v, want %v", host, got, want)
		}
	}
	for port, want := range map[uint16]bool{0: false, 442: false, 443: true, 444: false, 19999: false, 20000: true, 20100: true, 20101: false} {
		if got := set.AllowsPort(port); got != want {
			t.Errorf("AllowsPort(%d) = %v, want %v", port, got, want)
		}
	}
}

func TestNoGrantsAllowAnythingButOneKindAllowsThatAlone(t *testing.T) {
	t.Parallel()
	var none grant.Set
	if !none.AllowsHost("app.example.com") || !none.AllowsPort(20000) {
		t.Error("a token without grants is not allowed everything")
	}
	ports, err := grant.ParseAll([]string{"bind:tcp:20000"})
	if err != nil {
		t.Fatal(err)
	}
	if ports.AllowsHost("app.example.com") {
		t.Error("a grant of a port allows a name")
	}
	names, err := grant.ParseAll([]string{"bind:app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if names.AllowsPort(20000) {
		t.Error("a grant of a name allows a port")
	}
}

func TestOneMalformedGrantFailsThemAll(t *testing.T) {
	t.Parallel()
	set, err := grant.ParseAll([]string{"bind:future:thing"})
	if !errors.Is(err, grant.ErrMalformed) || set != nil {
		t.Errorf("ParseAll = %v, %v; a grant that is not understood must not become the empty set, which allows everything", set, err)
	}
}

func TestStringsKeepsOrder(t *testing.T) {
	t.Parallel()
	texts := []string{"bind:tcp:2", "bind:*.b.example", "bind:a.example"}
	set, err := grant.ParseAll(texts)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Strings(); !slices.Equal(got, texts) {
		t.Errorf("Strings() = %q, want %q", got, texts)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"bind:*.dev.example.com", "bind:app.example.com", "bind:tcp:20000-20100", "bind:tcp:1", "bind:*", "bind:bücher.example"} {
		f.Add(s, "x.dev.example.com", uint16(20000))
	}
	f.Fuzz(func(t *testing.T, s, host string, port uint16) {
		g, err := grant.Parse(s)
		if err != nil {
			return
		}
		again, err := grant.Parse(g.String())
		if err != nil || again != g {
			t.Fatalf("%q is written %q, which reads as %q, %v", s, g, again, err)
		}
		name, err := hostname.Normalize(host)
		if err != nil {
			return
		}
		if g.AllowsHost(name) && g.AllowsPort(port) {
			t.Fatalf("%q allows both the name %q and the port %d", g, name, port)
		}
	})
}
