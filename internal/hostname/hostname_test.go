package hostname_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/hostname"
)

func TestNormalizeAccepts(t *testing.T) {
	t.Parallel()
	l63 := strings.Repeat("a", 63)
	longest := strings.Join([]string{l63, l63, l63, strings.Repeat("b", 61)}, ".")
	for in, want := range map[string]string{
		"example.com":           "example.com",
		"EXAMPLE.Com":           "example.com",
		"example.com.":          "example.com",
		"localhost":             "localhost",
		"a.b-c.d0.example":      "a.b-c.d0.example",
		"feature--x.example":    "feature--x.example",
		"1.example.com":         "1.example.com",
		"0x7f.example":          "0x7f.example",
		"0xyz":                  "0xyz",
		l63 + ".example":        l63 + ".example",
		longest:                 longest,
		longest + ".":           longest,
		"bücher.example":        "xn--bcher-kva.example",
		"BÜCHER.example":        "xn--bcher-kva.example",
		"bu\u0308cher.example":  "xn--bcher-kva.example", // decomposed
		"XN--bCHER-kva.example": "xn--bcher-kva.example",
		"straße.example":        "xn--strae-oqa.example", // not "strasse": other owner
		"例え.テスト":                "xn--r8jz45g.xn--zckzah",
		"www。example．com｡":      "www.example.com", // ideographic, fullwidth and halfwidth dots
		"ｅｘａｍｐｌｅ.com":           "example.com",
		"exa\u00admple.com":     "example.com", // soft hyphen
		"\u212aelvin.example":   "kelvin.example",
	} {
		got, err := hostname.Normalize(in)
		if err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

// hostile is refused as a name, as a label and as a Host header.
var hostile = map[string]string{
	"empty":                     "",
	"dot":                       ".",
	"two dots":                  "..",
	"leading dot":               ".example.com",
	"double dot":                "a..b",
	"double trailing dot":       "example.com..",
	"mapped double dot":         "a。．b",
	"nul":                       "exam\x00ple.com",
	"trailing nul":              "example.com\x00",
	"newline":                   "example.com\n",
	"space":                     "exa mple.com",
	"leading space":             " example.com",
	"nbsp":                      "exa\u00a0mple.com",
	"tab":                       "\texample.com",
	"slash":                     "example.com/x",
	"backslash":                 `example.com\x`,
	"percent":                   "ex%61mple.com",
	"userinfo":                  "me@example.com",
	"wildcard":                  "*.example.com",
	"underscore":                "my_app.example.com",
	"fullwidth underscore":      "my＿app.example.com",
	"leading hyphen":            "-a.example",
	"trailing hyphen":           "a-.example",
	"hyphen":                    "-",
	"label of 64":               strings.Repeat("a", 64),
	"name of 254":               strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 62),
	"huge":                      strings.Repeat("a.", 1<<16) + "a",
	"huge of ignored":           strings.Repeat("\u00ad", 1<<16) + "a",
	"IDN label that grows":      strings.Repeat("ü", 60) + ".example",
	"IPv4":                      "127.0.0.1",
	"IPv4 with dot":             "127.0.0.1.",
	"IPv4 as a number":          "2130706433.",
	"IPv4 short":                "127.1",
	"IPv4 in hex":               "0x7f.0x1",
	"IPv4 empty hex":            "1.0x",
	"IPv4 in fullwidth":         "１２７.0.0.1",
	"IPv4 too large":            "example.com.256",
	"IPv6":                      "::1",
	"IPv6 in brackets":          "[::1]",
	"invalid UTF-8":             "exam\xffple.com",
	"replacement character":     "exam\ufffdple.com",
	"punycode of nothing":       "xn--.example",
	"punycode of ASCII":         "xn--example-.com",
	"punycode overflow":         "xn--99999999999.example",
	"punycode of a joiner":      "xn--a-ecp.ru\u200c",
	"punycode of a soft hyphen": "xn--ab-5da.example",
	"punycode twice":            "xn--xn---epa.example",
	"bidi mix":                  "a\u05d0b.example",
	"zero width joiner":         "a\u200db.example",
	"combining mark first":      "\u0301a.example",
	"full stop look-alike":      "a\u2024b.example",
	"emoji modifier alone":      "\U0001f3fb\u200d.example",
	"right-to-left override":    "a\u202eb.example",
}

func TestHostileNamesAreRefused(t *testing.T) {
	t.Parallel()
	for what, in := range hostile {
		for name, parse := range map[string]func(string) (string, error){
			"Normalize": hostname.Normalize, "FromHostHeader": hostname.FromHostHeader,
		} {
			got, err := parse(in)
			if !errors.Is(err, hostname.ErrInvalid) || got != "" {
				t.Errorf("%s: %s(%.60q) = %q, %v; want ErrInvalid", what, name, in, got, err)
			}
			if err != nil && len(err.Error()) > 1024 {
				t.Errorf("%s: the refusal echoes %d bytes", what, len(err.Error()))
			}
		}
	}
}

func TestLabel(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"app": "app", "App-1": "app-1", "123": "123", "0x7f": "0x7f",
		"bücher": "xn--bcher-kva", strings.Repeat("a", 63): strings.Repeat("a", 63),
		"": "", "a.b": "", "a.": "", ".a": "", "a。": "", "a．b": "", "-a": "", "a-": "", "a_b": "",
		"*": "", "a b": "", "a\x00": "", "xn--a": "", strings.Repeat("a", 64): "",
	} {
		got, err := hostname.Label(in)
		if got != want || (want == "") != errors.Is(err, hostname.ErrInvalid) {
			t.Errorf("Label(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestFromHostHeader(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"example.com": "example.com", "Example.COM:8080": "example.com", "example.com.:443": "example.com",
		"example.com:": "example.com", "bücher.example:1": "xn--bcher-kva.example",
		":80": "", "example.com:http": "", "example.com:99999": "", "example.com:000080": "",
		"example.com:80:80": "", "example.com:+80": "", "example.com: 80": "", "127.0.0.1:80": "",
		"[::1]:80": "", "[fe80::1%25lo]:80": "", "me@example.com:80": "",
	} {
		got, err := hostname.FromHostHeader(in)
		if got != want || (want == "") != errors.Is(err, hostname.ErrInvalid) {
			t.Errorf("FromHostHeader(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestReversed(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a.b.com": "com/b/a", "com": "com", "": ""} {
		if got := hostname.Reversed(in); got != want {
			t.Errorf("Reversed(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, domain string
		want         bool
	}{
		{"example.com", "example.com", true},
		{"a.b.example.com", "example.com", true},
		{"badexample.com", "example.com", false},
		{"com", "example.com", false},
		{"example.com", "", false},
		{"", "", false},
	} {
		if got := hostname.Within(c.host, c.domain); got != c.want {
			t.Errorf("Within(%q, %q) = %v", c.host, c.domain, got)
		}
	}
}
