package agentconfig_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/dialback/dialback/internal/agentconfig"
)

const pin = "sha256:0000000000000000000000000000000000000000000000000000000000000001"

var server = agentconfig.Server{Authtoken: "dbt_abc_s3cret", Pins: []string{pin}}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"unknown key":          {"version: 1\nserver: x\n", `line 2: unknown key "server"`},
		"unknown key, inside":  {"version: 1\nservers:\n  a.example:443:\n    token: x\n", `line 4: unknown key "token"`},
		"key twice":            {"version: 1\nversion: 1\n", "line 2"},
		"future version":       {"version: 2\n", "version is 2"},
		"no version":           {"default: a.example:443\n", "version is 0"},
		"cut token":            {"version: 1\nservers: {a.example: {authtoken: dbt_abc}}\n", "not a token"},
		"bad pin":              {"version: 1\nservers: {a.example: {authtoken: dbt_a_b, pins: [x]}}\n", "pin"},
		"default not there":    {"version: 1\ndefault: a.example:443\n", "not among the servers"},
		"address without name": {"version: 1\nservers: {10.0.0.1: {authtoken: dbt_a_b}}\n", "add --domain"},
		"one server twice":     {"version: 1\nservers: {a.example: {authtoken: dbt_a_b}, A.example:443: {authtoken: dbt_a_b}}\n", "twice"},
		"two documents":        {"version: 1\n---\nversion: 1\n", "more than one"},
		"no YAML":              {"\t{", "yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, test.text)
			_, err := agentconfig.Load(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want one with %q and the file", err, test.want)
			}
		})
	}
}

func TestLoadOfNothingIsEmpty(t *testing.T) {
	t.Parallel()
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), write(t, "")} {
		c, err := agentconfig.Load(path)
		if err != nil || c.Default != "" || len(c.Servers) != 0 {
			t.Errorf("%s: %+v, %v", path, c, err)
		}
	}
}

func TestAddServerKeepsTheOthers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "config.yaml")
	c, err := agentconfig.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"One.example", "localhost:7443", "one.example:443"} {
		if err := c.AddServer(address, server, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := agentconfig.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &agentconfig.Config{Version: 1, Default: "one.example:443",
		Servers: map[string]agentconfig.Server{"one.example:443": server, "localhost:7443": server}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := got.AddServer("localhost:7443", server, true); err != nil || got.Default != "localhost:7443" {
		t.Errorf("default is %q, %v", got.Default, err)
	}
	if err := got.AddServer("10.0.0.1", server, true); err == nil {
		t.Error("an IP address without domain was accepted")
	}
}

func TestSavedFileIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("windows has no modes")
	}
	path := write(t, "version: 1\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	c := &agentconfig.Config{Version: 1}
	if err := c.AddServer("a.example", server, false); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	text := fmt.Sprintf("%v %+v %#v %s %q %x", server, server, server, server.Authtoken, server.Authtoken, server.Authtoken)
	js, err := json.Marshal(server)
	if err != nil {
		t.Fatal(err)
	}
	ym, err := yaml.Marshal(&agentconfig.Config{Version: 1, Servers: map[string]agentconfig.Server{"a": server}})
	if err != nil {
		t.Fatal(err)
	}
	if all := text + string(js) + string(ym); strings.Contains(all, "s3cret") || strings.Contains(all, "733363") {
		t.Errorf("the token shows: %s", all)
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Example.com": "example.com:443", "localhost:7443": "localhost:7443", "127.0.0.1": "127.0.0.1:443",
		"::1": "[::1]:443", "[::1]": "[::1]:443", "[::1]:7443": "[::1]:7443",
		"": "", "a:0": "", "a:x": "", "a:70000": "", "a:080": "", "a b:1": "", ":443": "", "http://a": "",
	} {
		got, err := agentconfig.ParseAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}
