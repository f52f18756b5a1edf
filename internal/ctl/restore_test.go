package ctl_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The backup was taken behind revision 12. What has ended since ends again, before
// the restore counts as finished; what cannot be repeated is told.
func TestARestoreEndsAgainWhatHasEndedSince(t *testing.T) {
	past := filepath.Join(t.TempDir(), "audit.json")
	event := func(revision, action, kind, name, details string) string {
		return `{"revision": "` + revision + `", "action": "ACTION_` + action + `", "kind": "` + kind + `",
			"name": "` + name + `", "actor": "admin:root", "details": {` + details + "}}\n"
	}
	if err := os.WriteFile(past, []byte(
		event("11", "REVOKED", "token", "before", "")+
			event("12", "CREATED", "token", "stolen", "")+
			event("13", "BOUND", "tunnel", "app.example.com", "")+
			event("14", "REVOKED", "token", "stolen", "")+
			event("15", "UPDATED", "token", "leaked", `"changed": "secret"`)+
			event("16", "UPDATED", "account", "shop", `"changed": "disabled", "disabled": "true"`)+
			event("17", "CREATED", "token", "new", "")+
			event("18", "REVOKED", "token", "new", "")+
			event("19", "DELETED", "token", "old", "")+
			event("20", "DELETED", "account", "gone", "")+
			event("21", "EXPIRED", "token", "short", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rest{answers: map[string]string{
		"GET /v1/events":                `{"result": {"events": [{"revision": "11"}, {"revision": "12"}, {"revision": "1000000030"}]}}` + "\n",
		"POST /v1/tokens/stolen:revoke": "{}", "PATCH /v1/accounts/shop": "{}", "DELETE /v1/tokens/old": "{}", "DELETE /v1/accounts/gone": "{}",
		"POST /v1/registry:finishRestore": `{"epoch": "3"}`,
	}}
	user(t, r)
	code, stdout, stderr := run(t, "restore-finish", "--audit", past)
	if code != 0 || !strings.Contains(stdout, "epoch is 3") {
		t.Errorf("it exits %d, and says %q and %q", code, stdout, stderr)
	}
	want := []string{
		"POST /v1/tokens/stolen:revoke", "PATCH /v1/accounts/shop?update_mask=disabled", "POST /v1/tokens/new:revoke", "DELETE /v1/tokens/old",
		"DELETE /v1/accounts/gone?force=true", "POST /v1/registry:finishRestore",
	}
	if got := slices.DeleteFunc(r.asked, func(call string) bool { return strings.HasPrefix(call, "GET ") }); !slices.Equal(got, want) {
		t.Errorf("it did %q", got)
	}
	for _, told := range []string{"token leaked was updated", "rotate it once more", "token new was created", "make another", "Repeated: token stolen"} {
		if !strings.Contains(stderr, told) {
			t.Errorf("nothing says %q:\n%s", told, stderr)
		}
	}
	if !slices.Contains(r.bodies, `{"disabled":true}`) {
		t.Errorf("the account was sent %q", r.bodies)
	}
}

// A file that cannot be read whole must not pass for one without revocations.
func TestARestoreIsNotFinishedOnATornAudit(t *testing.T) {
	past := filepath.Join(t.TempDir(), "audit.json")
	if err := os.WriteFile(past, []byte(`{"revision": "14", "action": "ACTION_REV`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rest{answers: map[string]string{"POST /v1/registry:finishRestore": `{"epoch": "3"}`}}
	user(t, r)
	if code, _, stderr := run(t, "restore-finish", "--audit", past); code == 0 || len(r.asked) > 0 {
		t.Errorf("it exits %d after %q: %s", code, r.asked, stderr)
	}
}

// What was deleted in one deployment must not be deleted in another.
func TestARestoreIsNotFinishedOnTheAuditOfAnother(t *testing.T) {
	past := filepath.Join(t.TempDir(), "audit.json")
	if err := os.WriteFile(past, []byte(`{"revision": "14", "action": "ACTION_DELETED", "kind": "account", "name": "shop"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rest{answers: map[string]string{
		"GET /v1/events":           `{"result": {"events": [{"revision": "11"}]}}` + "\n",
		"DELETE /v1/accounts/shop": "{}", "POST /v1/registry:finishRestore": `{"epoch": "3"}`,
	}}
	user(t, r)
	if code, _, stderr := run(t, "restore-finish", "--audit", past); code == 0 || !strings.Contains(stderr, "another store") {
		t.Errorf("it exits %d: %s", code, stderr)
	}
	if slices.Contains(r.asked, "DELETE /v1/accounts/shop?force=true") || slices.Contains(r.asked, "POST /v1/registry:finishRestore") {
		t.Errorf("it did %q", r.asked)
	}
}
