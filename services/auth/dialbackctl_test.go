package auth_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/ctl"
	"github.com/dialback/dialback/internal/datadir"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
)

// admin runs dialbackctl against a replica, over TCP and with files.
type admin struct {
	t       *testing.T
	d       *deployment
	replica *replica
	flags   []string
}

func newAdmin(t *testing.T, role string) *admin {
	d := deploy(t)
	c := d.config()
	c.Listen = "127.0.0.1:0"
	r := d.start(c)
	dir := t.TempDir()
	cert := d.cert(role, "ops")
	if err := tlsconf.WritePair(&cert, filepath.Join(dir, datadir.AdminCert), filepath.Join(dir, datadir.AdminKey)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, datadir.AdminCA), d.ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &admin{t: t, d: d, replica: r, flags: []string{"--credentials", dir, "--server", r.auth.Addr().String()}}
}

// run returns the exit code and what was written.
func (a *admin) run(args ...string) (code int, stdout, stderr string) {
	var out, notes strings.Builder
	code = ctl.Run(bounded(a.t), append(args, a.flags...), &out, &notes)
	return code, out.String(), notes.String()
}

func (a *admin) mustRun(args ...string) (stdout, stderr string) {
	a.t.Helper()
	code, stdout, stderr := a.run(args...)
	if code != 0 {
		a.t.Fatalf("%q exits with %d: %s", args, code, stderr)
	}
	return stdout, stderr
}

func TestDialbackctlWalksATokenThroughItsLife(t *testing.T) {
	t.Parallel()
	a := newAdmin(t, tlsconf.RoleAdmin)
	stdout, stderr := a.mustRun("token", "list")
	if stdout != "" || !strings.Contains(stderr, "no authtokens") {
		t.Errorf("an empty list: %q, %q", stdout, stderr)
	}

	stdout, stderr = a.mustRun("token", "create", "--account", "team-a", "--description", "a laptop",
		"--grant", "bind:*.dev.example.com", "--grant", "bind:tcp:20000-20100", "--valid-for", "720h")
	line := regexp.MustCompile(`^dialback config add-server tunnel\.example\.com:443 --pin (sha256:[0-9a-f]{64}) --authtoken (dbt_([0-9a-f]{16})_[0-9a-f]{64})\n$`).FindStringSubmatch(stdout)
	if line == nil {
		t.Fatalf("stdout is not one line to paste: %q", stdout)
	}
	pin, authtoken, id := line[1], line[2], line[3]
	if pin != a.d.ca.Pin().String() {
		t.Errorf("the pin is %s, want %s", pin, a.d.ca.Pin())
	}
	for _, want := range []string{id, "team-a", "in 30 days", "once"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("the notes do not say %q: %s", want, stderr)
		}
	}
	if strings.Contains(stderr, authtoken) {
		t.Error("the authtoken is in the notes too")
	}
	if _, err := a.replica.as(tlsconf.RoleConnector).Validate(bounded(t), validation(authtoken)); err != nil {
		t.Errorf("the printed authtoken is refused: %v", err)
	}

	stdout, _ = a.mustRun("token", "list")
	for _, want := range []string{id, "team-a", "active, expires", "bind:*.dev.example.com bind:tcp:20000-20100", "a laptop"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the list does not say %q:\n%s", want, stdout)
		}
	}
	if stdout, _ = a.mustRun("token", "list", "--account", "team-b"); strings.Contains(stdout, id) {
		t.Errorf("another account's list has it:\n%s", stdout)
	}
	if stdout, _ = a.mustRun("token", "revoke", id); !strings.Contains(stdout, id+": revoked ") {
		t.Errorf("revoke says %q", stdout)
	}
	a.mustRun("token", "revoke", authtoken)
	_, err := a.replica.as(tlsconf.RoleConnector).Validate(bounded(t), validation(authtoken))
	wantReason(t, err, errs.Unauthenticated, errs.ReasonTokenRevoked)
}

func TestDialbackctlWritesJSON(t *testing.T) {
	t.Parallel()
	a := newAdmin(t, tlsconf.RoleAdmin)
	type token struct {
		ID         string   `json:"id"`
		Grants     []string `json:"grants"`
		CreateTime string   `json:"create_time"`
		ExpireTime *string  `json:"expire_time"`
	}
	var tokens []token
	stdout, _ := a.mustRun("token", "list", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &tokens); err != nil || len(tokens) != 0 || tokens == nil {
		t.Errorf("an empty list is %q, %v", stdout, err)
	}
	var created struct {
		Token     token  `json:"token"`
		Authtoken string `json:"authtoken"`
	}
	stdout, stderr := a.mustRun("token", "create", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &created); err != nil || !strings.HasPrefix(created.Authtoken, "dbt_"+created.Token.ID) || stderr != "" {
		t.Fatalf("create says %q, %q, %v", stdout, stderr, err)
	}
	stdout, _ = a.mustRun("token", "list", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &tokens); err != nil || len(tokens) != 1 || tokens[0].ID != created.Token.ID || tokens[0].ExpireTime != nil {
		t.Errorf("the list is %q, %v", stdout, err)
	}
	if strings.Contains(stdout, created.Authtoken) {
		t.Error("the list shows a secret")
	}
}

func TestDialbackctlExplainsFailures(t *testing.T) {
	t.Parallel()
	a := newAdmin(t, tlsconf.RoleAdmin)
	elsewhere := newAdmin(t, tlsconf.RoleAdmin)
	connector := newAdmin(t, tlsconf.RoleConnector)
	mixed := &admin{t: t, flags: append([]string{"--server", a.replica.auth.Addr().String()}, elsewhere.flags[:2]...)}
	nobody := &admin{t: t, flags: append([]string{"--server", "127.0.0.1:1"}, a.flags[:2]...)}
	without := &admin{t: t, flags: []string{"--credentials", t.TempDir()}}
	for name, test := range map[string]struct {
		admin *admin
		args  string
		code  int
		says  []string
	}{
		"bad grant":       {a, "token create --grant serve:all", 2, []string{"serve:all", "bind:app.example.com"}},
		"bad account":     {a, "token create --account UPPER", 2, []string{"account", "lower-case"}},
		"bad duration":    {a, "token create --valid-for soon", 2, []string{"soon"}},
		"no such token":   {a, "token revoke 0123456789abcdef", 1, []string{"token list"}},
		"not an id":       {a, "token revoke Everything", 2, []string{"lower-case letters, digits and hyphens"}},
		"no such command": {a, "token destroy", 2, []string{"destroy", "--help"}},
		"wrong role":      {connector, "token list", 1, []string{"administrator's certificate"}},
		"wrong authority": {mixed, "token list", 1, []string{"cannot reach", "certificate signed by unknown authority"}},
		"nobody listens":  {nobody, "token list", 1, []string{"127.0.0.1:1", "connection refused", "--server"}},
		"no credentials":  {without, "token list", 1, []string{"--credentials", "DIALBACK_CREDENTIALS"}},
	} {
		code, stdout, stderr := test.admin.run(strings.Fields(test.args)...)
		if code != test.code || stdout != "" {
			t.Errorf("%s: exit code %d, want %d; stdout %q", name, code, test.code, stdout)
		}
		for _, want := range test.says {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q does not say %q", name, stderr, want)
			}
		}
		if strings.Contains(stderr, "rpc error") || strings.Contains(stderr, "desc =") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: not a plain sentence: %q", name, stderr)
		}
	}
}

func TestDialbackctlHelpAndVersion(t *testing.T) {
	t.Parallel()
	a := &admin{t: t}
	for _, args := range []string{"--help", "token create --help", "--version", "version"} {
		stdout, stderr := a.mustRun(strings.Fields(args)...)
		if stdout == "" || stderr != "" {
			t.Errorf("%s: %q, %q", args, stdout, stderr)
		}
	}
}
