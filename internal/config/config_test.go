package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/config"
	"github.com/dialback/dialback/internal/secret"
)

type server struct {
	Listen      string            `default:":8080" help:"Address."`
	Port        int               `default:"1"`
	ProxyDomain string            `placeholder:"NAME"`
	Drain       time.Duration     `default:"30s"`
	Verbose     bool              ``
	Networks    []string          ``
	Labels      map[string]string ``
	Hold        *time.Duration    ``
	Token       secret.String     ``
	Raw         []string          `sep:"none"`
	Mode        string            `enum:"fast,safe" default:"safe"`
	NoEnv       string            `env:"-"`
}

// parse gives the configuration of flags, environment and file text.
func parse(t *testing.T, file string, args ...string) (server, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "server.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	var cli server
	_, err := config.Parse(&cli, args, config.Options{
		Name: "server", EnvPrefix: "DIALBACK_", Version: "v1.2.3",
		Stdout: &bytes.Buffer{}, Exit: func(int) { t.Error("Parse ended the program") },
	})
	return cli, err
}

func TestPrecedence(t *testing.T) {
	const env, file = "DIALBACK_PROXY_DOMAIN", "proxy-domain: from-file"
	for _, c := range []struct {
		name, file, env string
		args            []string
		want            string
	}{
		{"default", "", "", nil, ""},
		{"file", file, "", nil, "from-file"},
		{"environment beats file", file, "from-env", nil, "from-env"},
		{"flag beats environment and file", file, "from-env", []string{"--proxy-domain=from-flag"}, "from-flag"},
		{"flag beats file", file, "", []string{"--proxy-domain=from-flag"}, "from-flag"},
		{"environment beats default", "", "from-env", nil, "from-env"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env != "" {
				t.Setenv(env, c.env)
			}
			got, err := parse(t, c.file, c.args...)
			if err != nil || got.ProxyDomain != c.want {
				t.Errorf("got %q, %v; want %q", got.ProxyDomain, err, c.want)
			}
		})
	}
}

func TestFileBeatsDefaultsInTags(t *testing.T) {
	t.Parallel()
	got, err := parse(t, "listen: :9090\nport: 0")
	if err != nil || got.Listen != ":9090" || got.Port != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFileNamedByTheEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("port: 7"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DIALBACK_CONFIG", path)
	if got, err := parse(t, ""); err != nil || got.Port != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEveryTypeInTheFile(t *testing.T) {
	t.Parallel()
	got, err := parse(t, `
# a comment
listen: "127.0.0.1:0"
port: 8443
proxy-domain: 123        # a text, as on the command line
drain: 1m30s
verbose: true
networks: [10.0.0.0/8, "a,b"]
labels: {a: 1, b: "x;y"}
hold: 5s
token: s3cret
raw: ["a,b"]
mode: fast
no-env: x
`)
	if err != nil {
		t.Fatal(err)
	}
	hold := 5 * time.Second
	want := server{
		Listen: "127.0.0.1:0", Port: 8443, ProxyDomain: "123", Drain: 90 * time.Second, Verbose: true,
		Networks: []string{"10.0.0.0/8", "a,b"}, Labels: map[string]string{"a": "1", "b": "x;y"}, Hold: &hold,
		Token: "s3cret", Raw: []string{"a,b"}, Mode: "fast", NoEnv: "x",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEmptyFilesAreFiles(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"\n", "# nothing yet\n", "{}\n"} {
		if got, err := parse(t, file); err != nil || got.Port != 1 {
			t.Errorf("%q: got %+v, %v", file, got, err)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"unknown key":        {"port: 1\nprot: 2", []string{"server.yaml:2", `unknown key "prot"`}},
		"field name":         {"ProxyDomain: x", []string{`unknown key "ProxyDomain"`}},
		"config":             {"config: other.yaml", []string{`unknown key "config"`}},
		"help":               {"help: true", []string{`unknown key "help"`}},
		"text for a number":  {"port: many", []string{"server.yaml:1", `key "port"`, "many"}},
		"float for a number": {"port: 1.5", []string{`key "port"`, "1.5"}},
		"number for time":    {"drain: 30", []string{`key "drain"`, "missing unit"}},
		"text for a bool":    {"verbose: perhaps", []string{`key "verbose"`}},
		"list for a text":    {"listen: [a, b]", []string{`key "listen"`, "one value"}},
		"mapping for a text": {"listen: {a: b}", []string{`key "listen"`, "one value"}},
		"mapping for a list": {"networks: {a: b}", []string{`key "networks"`, "a list"}},
		"list in a list":     {"networks: [[a]]", []string{`key "networks"`, "one value"}},
		"list for a mapping": {"labels: [a]", []string{`key "labels"`, "a mapping"}},
		"list without seps":  {"raw: [a, b]", []string{`key "raw"`, "one value"}},
		"null":               {"listen:", []string{`key "listen"`, "no value"}},
		"alias":              {"listen: &a x\nproxy-domain: *a", []string{`key "proxy-domain"`}},
		"not in the enum":    {"mode: slow", []string{"--mode", "fast", "safe"}},
		"twice":              {"port: 1\nport: 2", []string{"server.yaml:2", `"port"`, "twice"}},
		"two documents":      {"port: 1\n---\nport: 2", []string{"more than one document"}},
		"a list":             {"- port", []string{"key: value"}},
		"a text":             {"port", []string{"key: value"}},
		"no YAML":            {"port: [", []string{"server.yaml"}},
		"large":              {strings.Repeat("#", 1<<20+1), []string{"larger than"}},
		"large, not parsed":  {"port: 1\n" + strings.Repeat("#", 2<<20), []string{"larger than"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(t, c.file)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range append(c.want, "server --help") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestUsageErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name string
		env  string
		args []string
		want string
	}{
		{"unknown flag", "", []string{"--prot=1"}, "did you mean \"--port\""},
		{"wrong type", "", []string{"--port=x"}, "--port"},
		{"wrong type in the environment", "x", nil, "DIALBACK_PORT"},
		{"argument", "", []string{"what"}, "what"},
		{"missing file", "", []string{"--config=/does/not/exist"}, "/does/not/exist"},
		{"a folder as file", "", []string{"--config=/"}, "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env != "" {
				t.Setenv("DIALBACK_PORT", c.env)
			}
			_, err := parse(t, "", c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "see server --help") {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestVariablesThatDoNotCount(t *testing.T) {
	t.Setenv("DIALBACK_NO_ENV", "x")
	t.Setenv("DIALBACK_HELP", "true")
	t.Setenv("DIALBACK_VERSION", "true")
	if got, err := parse(t, ""); err != nil || got.NoEnv != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHelpAndVersionEndTheProgram(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{"--version": "v1.2.3\n", "--help": "$DIALBACK_PROXY_DOMAIN"} {
		var out bytes.Buffer
		code := -1
		_, _ = config.Parse(&server{}, []string{arg}, config.Options{
			Name: "server", EnvPrefix: "DIALBACK_", Version: "v1.2.3",
			Stdout: &out, Exit: func(c int) { code = c },
		})
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d, output %q", arg, code, out.String())
		}
	}
}

func TestCommandsShareAFile(t *testing.T) {
	t.Parallel()
	var cli struct {
		HTTP struct {
			URL string ``
		} `cmd:""`
		TCP struct {
			RemotePort int ``
		} `cmd:""`
	}
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte("url: https://a.example\nremote-port: 20001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, err := config.Parse(&cli, []string{"tcp", "--config", path}, config.Options{Name: "agent", EnvPrefix: "DIALBACK_TEST_"})
	if err != nil || ctx.Command() != "tcp" || cli.TCP.RemotePort != 20001 {
		t.Errorf("got %+v, %v", cli, err)
	}
}
