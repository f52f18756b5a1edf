package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

// Only those who know the password get in, and the service never sees it. It is
// nowhere in the server's store or log.
func TestAnEndpointWithAPassword(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		agent := d.Agent(serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("in " + r.Header.Get("Authorization")))
		}), "--basic-auth", "anna:open sesame")
		host := strings.TrimPrefix(agent.URL(), "http://")
		for user, want := range map[string]string{
			"anna:open sesame": "in  200 ",
			"anna:guess":       "401 AUTH_REQUIRED",
			"otto:open sesame": "401 AUTH_REQUIRED",
			"":                 "401 AUTH_REQUIRED",
		} {
			args := []string{"-w", " %{http_code} %header{dialback-error}", "-H", "Host: " + host, "http://" + d.HTTP + "/"}
			if user != "" {
				args = append(args, "-u", user)
			}
			if got := harness.Curl(t, args...); !strings.HasSuffix(got, want) {
				t.Errorf("%q: %q", user, got)
			}
		}
		for _, log := range []string{d.Logs(), agent.Log()} {
			if strings.Contains(log, "sesame") {
				t.Error("a password is in the log")
			}
		}
	})
}

// What a user can get wrong on the command line is told at once, with what to do.
func TestCommandLinesThatCannotWork(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil)
	for name, c := range map[string]struct {
		program string
		args    []string
		exit    int
		says    string
	}{
		"nothing configured":  {"dialback", []string{"http", "8080"}, 2, "dialback config add-server"},
		"an unknown flag":     {"dialback", []string{"http", "8080", "--subdomian", "x"}, 2, "--subdomian"},
		"an unknown command":  {"dialback", []string{"htttp", "8080"}, 2, "htttp"},
		"an occupied address": {"dialbackd", []string{"--http", server.HTTP, "--tls", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--api", "127.0.0.1:0"}, 1, "--http"},
		"a bad address":       {"dialbackd", []string{"--http", "7080"}, 2, "host:port"},
		"no credentials":      {"dialbackctl", []string{"token", "list"}, 1, "--credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out := harness.Run(t, harness.Home(t.TempDir()), harness.Bin(c.program), c.args...)
			if code != c.exit || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, c.exit, c.says, out)
			}
		})
	}
}
