package ctlconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/ctlconfig"
)

func TestContextsAreKeptPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dialback", "ctl.yaml")
	c, err := ctlconfig.Load(path)
	if err != nil || len(c.Contexts) != 0 {
		t.Fatalf("without a file: %v, %v", c, err)
	}
	c.Set("local", ctlconfig.Context{Server: "http://127.0.0.1:7082", Key: "dbk_a_b"})
	c.Set("other", ctlconfig.Context{Server: "https://api.example.com", CAFile: "/ca.pem"})
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, err := ctlconfig.Load(path)
	if err != nil || again.Current != "local" || again.Contexts["local"].Key.Reveal() != "dbk_a_b" || again.Contexts["other"].CAFile != "/ca.pem" {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestAFileThatIsWrongSaysWhere(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"contexts: {a: {server: 'ftp://x'}}":            "context a",
		"current-context: b":                            `no context "b"`,
		"contexts: {a: {server: 'http://x', kye: y}}":   `line 1: unknown key "kye"`,
		"current-context: ''\n---\ncontexts: {}":        "more than one",
		"contexts: {'': {server: 'https://x.example'}}": "no name",
	} {
		path := filepath.Join(t.TempDir(), "ctl.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ctlconfig.Load(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
