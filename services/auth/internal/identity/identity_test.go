package identity_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/storetest"
)

// admin may do everything.
var admin = identity.Caller{
	Principal: principal.Principal{Account: principal.DefaultAccount, Role: principal.Admin, Actor: "admin:ops"}, Address: "192.0.2.9:1",
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that only the test moves.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 22, 21, 38, 0, 0, time.UTC)} }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	e, ok := errs.From(err)
	if !ok || e.Kind() != errs.InvalidArgument || len(e.Fields()) != 1 || e.Fields()[0].Name != field {
		t.Errorf("got %v, want a complaint about %s", err, field)
	}
}

func TestCreateRefusesWhatIsMalformed(t *testing.T) {
	t.Parallel()
	tokens := identity.NewTokens(storetest.NewMemory(), time.Now)
	for _, test := range []struct {
		field string
		n     identity.NewToken
	}{
		{"account_id", identity.NewToken{AccountID: "Team"}},
		{"account_id", identity.NewToken{AccountID: "a/b"}},
		{"account_id", identity.NewToken{AccountID: strings.Repeat("a", 64)}},
		{"description", identity.NewToken{Description: strings.Repeat("ü", 201)}},
		{"description", identity.NewToken{Description: "\x1b[2J"}},
		{"description", identity.NewToken{Description: "a\nb"}},
		{"description", identity.NewToken{Description: "\xff"}},
		{"grants", identity.NewToken{Grants: make([]string, 65)}},
		{"grants[1]", identity.NewToken{Grants: []string{"bind:a.example.com", "bind:*"}}},
		{"valid_for", identity.NewToken{ValidFor: -1}},
		{"id", identity.NewToken{ID: "a_b"}},
		{"id", identity.NewToken{ID: "../keys"}},
		{"id", identity.NewToken{ID: strings.Repeat("a", 64)}},
		{"role", identity.NewToken{Role: principal.Operator}},
		{"role", identity.NewToken{Kind: identity.APIKey, Role: principal.Agent}},
		{"grants", identity.NewToken{Kind: identity.APIKey, Grants: []string{"bind:a.example.com"}}},
		{"valid_for", identity.NewToken{ValidFor: 101 * 365 * 24 * time.Hour}},
	} {
		_, _, err := tokens.Create(t.Context(), admin, test.n)
		wantField(t, err, test.field)
	}
	longest := identity.NewToken{AccountID: strings.Repeat("a", 63), Description: strings.Repeat("ü", 200)}
	if _, _, err := tokens.Create(t.Context(), admin, longest); err != nil {
		t.Errorf("the longest of everything: %v", err)
	}
}

func TestListRefusesWhatIsMalformed(t *testing.T) {
	t.Parallel()
	tokens := identity.NewTokens(storetest.NewMemory(), time.Now)
	_, _, err := tokens.List(t.Context(), admin.Principal, identity.TokenFilter{Account: "a/b"}, "", 0)
	wantField(t, err, "account_id")
	_, _, err = tokens.List(t.Context(), admin.Principal, identity.TokenFilter{Account: ""}, "../keys", 0)
	wantField(t, err, "page_token")
	for _, size := range []int{-1, 1001} {
		_, _, err = tokens.List(t.Context(), admin.Principal, identity.TokenFilter{Account: ""}, "", size)
		wantField(t, err, "page_size")
	}
	_, err = tokens.Revoke(t.Context(), admin, "../keys")
	wantField(t, err, "id")
}

func TestListPages(t *testing.T) {
	t.Parallel()
	tokens := identity.NewTokens(storetest.NewMemory(), time.Now)
	for range 5 {
		if _, _, err := tokens.Create(t.Context(), admin, identity.NewToken{}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	pages := 0
	for page := ""; ; pages++ {
		list, next, err := tokens.List(t.Context(), admin.Principal, identity.TokenFilter{Account: ""}, page, 2)
		if err != nil || len(list) > 2 || pages > 3 {
			t.Fatalf("page %d: %d tokens, %v", pages, len(list), err)
		}
		for _, x := range list {
			seen[x.ID] = true
		}
		if page = next; page == "" {
			break
		}
	}
	if len(seen) != 5 || pages != 2 {
		t.Errorf("%d tokens on %d pages, want 5 on 3", len(seen), pages+1)
	}
}

func TestParseAuthtokenIsExact(t *testing.T) {
	t.Parallel()
	valid := "dbt_0123456789abcdef_" + strings.Repeat("0123456789abcdef", 4)
	got, err := identity.ParseAuthtoken(secret.String(valid))
	if err != nil || got.ID != "0123456789abcdef" || got.Text.Reveal() != valid {
		t.Fatalf("ParseAuthtoken() = %v, %v", got, err)
	}
	for _, bad := range []string{
		"", "dbt_", valid[:len(valid)-1], valid + "0", " " + valid[1:], strings.ToUpper(valid), "dbr_" + valid[4:],
		strings.Replace(valid, "_0123456789abcdef_", "_0123456789abcde__", 1), strings.Replace(valid, "_0123456789abcdef_", "_Laptop_", 1),
		strings.Replace(valid, "_0123456789abcdef_", "_../../../../keys_", 1),
		"dbk_" + valid[4:], "dbt__" + valid[21:], strings.Replace(valid, "f_", strings.Repeat("f", 60)+"_", 1),
		valid[:len(valid)-1] + "g", valid[:len(valid)-1] + "\n",
	} {
		if got, err := identity.ParseAuthtoken(secret.String(bad)); !errors.Is(err, identity.ErrTokenMissing) {
			t.Errorf("ParseAuthtoken(%q) = %v, %v", bad, got, err)
		}
	}
}

func FuzzParseAuthtoken(f *testing.F) {
	f.Add("dbt_0123456789abcdef_" + strings.Repeat("0123456789abcdef", 4))
	f.Add("dbt_0123456789abcdef_" + strings.Repeat("_", 64))
	f.Add("dbt_")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := identity.ParseAuthtoken(secret.String(s))
		if err != nil {
			if !errors.Is(err, identity.ErrTokenMissing) || strings.Contains(err.Error(), s) && len(s) > 8 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(got.ID) == 0 || len(got.ID) > 63 || strings.Trim(got.ID, "abcdefghijklmnopqrstuvwxyz-0123456789") != "" || got.Text.Reveal() != s || !strings.HasPrefix(s, "dbt_"+got.ID+"_") {
			t.Fatalf("%q read as id %q", s, got.ID)
		}
	})
}

// A filter that few match makes pages that are not full, and misses nothing.
func TestListsAreFiltered(t *testing.T) {
	t.Parallel()
	store := storetest.NewMemory()
	tokens := identity.NewTokens(store, time.Now)
	for i := range 50 {
		n := identity.NewToken{ID: fmt.Sprintf("t%02d", i)}
		if i%25 == 24 {
			n.Kind, n.Role = identity.APIKey, principal.ReadOnly
		}
		if _, _, err := tokens.Create(t.Context(), admin, n); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	calls := 0
	for page := ""; ; calls++ {
		list, next, err := tokens.List(t.Context(), admin.Principal, identity.TokenFilter{Kind: identity.APIKey, HasKind: true, Role: principal.ReadOnly}, page, 1)
		if err != nil || calls > 10 {
			t.Fatal(calls, err)
		}
		for _, x := range list {
			seen = append(seen, x.ID)
		}
		if page = next; page == "" {
			break
		}
	}
	if fmt.Sprint(seen) != "[t24 t49]" {
		t.Errorf("seen %v in %d calls", seen, calls)
	}
	if list, _, err := tokens.List(t.Context(), admin.Principal, identity.TokenFilter{HasKind: true}, "", 100); err != nil || len(list) != 48 {
		t.Errorf("authtokens: %d, %v", len(list), err)
	}
}
