package directory_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

func caller(account string, role principal.Role) directory.Caller {
	return directory.Caller{Principal: principal.Principal{Account: account, Role: role, Actor: "token:" + account}}
}

func operator(account string) directory.Caller { return caller(account, principal.Operator) }

var admin = caller("default", principal.Admin)

func (f *fixture) reserve(by directory.Caller, account, name string) *directory.Reservation {
	f.t.Helper()
	r, err := f.Reserve(f.t.Context(), by, directory.Reservation{Name: name, Account: account})
	if err != nil {
		f.t.Fatalf("reserve %s for %s: %v", name, account, err)
	}
	return r
}

// tryBind is a bind by an agent of an account.
func (f *fixture) tryBind(account, name string) error {
	p := principalOf(account)
	_, err := f.Bind(f.t.Context(), f.request(p, "s-"+p.Agent, "t-"+account+name, name))
	return err
}

func principalOf(account string) directory.Principal {
	p := agentOf("agent-" + account)
	p.Account = account
	return p
}

func TestAReservedNameIsItsOwners(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.reserve(operator("acme"), "", "Shop.Example.com.")
	f.reserve(operator("acme"), "", "*.dev.example.com")
	f.reserve(admin, "other", "x.dev.example.com") // split off
	f.reserve(admin, "other", "*.deep.dev.example.com")
	f.reserve(admin, "acme", "www.acme.org")
	f.reserve(admin, "acme", "*.acme.org")
	for _, test := range []struct {
		account, name string
		want          error
	}{
		{"other", "shop.example.com", directory.ErrNameTaken},
		{"other", "a.shop.example.com", nil}, // the reservation is of that name alone
		{"acme", "shop.example.com", nil},
		{"other", "a.dev.example.com", directory.ErrNameTaken},
		{"other", "a.b.c.dev.example.com", directory.ErrNameTaken},
		{"other", "*.b.dev.example.com", directory.ErrNameTaken},
		{"other", "dev.example.com", nil},
		{"acme", "a.dev.example.com", nil},
		{"acme", "x.dev.example.com", directory.ErrNameTaken},
		{"other", "x.dev.example.com", nil},
		{"acme", "y.deep.dev.example.com", directory.ErrNameTaken},
		{"other", "y.deep.dev.example.com", nil},
		{"acme", "*.dev.example.com", directory.ErrNameTaken}, // others have names there
		{"acme", "www.acme.org", nil},
		{"acme", "a.b.acme.org", nil},
		{"acme", "acme.org", directory.ErrNameForbidden},
		{"other", "a.acme.org", directory.ErrNameTaken},
		{"other", "elsewhere.org", directory.ErrNameForbidden},
	} {
		if err := f.tryBind(test.account, test.name); !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s binds %s: %v, want %v", test.account, test.name, err, test.want)
		}
	}
}

func TestWhoMayReserveWhat(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.reserve(operator("acme"), "", "*.acme.example.com")
	f.reserve(operator("acme"), "", "tcp:20001")
	for _, name := range []string{"live.example.com", "a.live2.example.com", "*.wild.example.com"} {
		if err := f.tryBind("acme", name); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		by            directory.Caller
		account, name string
		want          error
		conflict      string
	}{
		{operator("other"), "", "x.acme.example.com", directory.ErrNameTaken, "*.acme.example.com"},
		{operator("other"), "", "*.acme.example.com", directory.ErrNameTaken, "*.acme.example.com"},
		{operator("other"), "", "*.x.acme.example.com", directory.ErrNameTaken, "*.acme.example.com"},
		{operator("other"), "", "tcp:20001", directory.ErrNameTaken, "tcp:20001"},
		{operator("other"), "", "live.example.com", directory.ErrNameTaken, "live.example.com"},
		{admin, "other", "live.example.com", directory.ErrNameTaken, "live.example.com"},
		{operator("other"), "", "*.live2.example.com", directory.ErrNameTaken, "a.live2.example.com"},
		{admin, "other", "*.live2.example.com", directory.ErrNameTaken, "a.live2.example.com"},
		{operator("other"), "", "x.wild.example.com", directory.ErrNameTaken, "*.wild.example.com"},
		{operator("other"), "acme", "y.example.com", principal.ErrForeign, ""},
		{operator("other"), "", "bank.org", directory.ErrNameForbidden, ""},
		{operator("other"), "", "*.example.com", directory.ErrNameForbidden, ""},
		{operator("other"), "", "tcp:80", directory.ErrNameForbidden, ""},
		{admin, "other", "*.org", directory.ErrNameForbidden, ""},
		{admin, "other", "example.com", directory.ErrNameForbidden, ""},
		{admin, "other", "x.api.example.com", directory.ErrNameForbidden, ""},
		{admin, "other", "*.proxy.example.com", directory.ErrNameForbidden, ""},
		{admin, "other", "a..example.com", directory.ErrNameInvalid, ""},
		{admin, "other", "tcp:020001", directory.ErrNameInvalid, ""},
		{operator("acme"), "", "live.example.com", nil, ""},
		{operator("acme"), "", "*.live2.example.com", nil, ""},
	} {
		_, err := f.Reserve(t.Context(), test.by, directory.Reservation{Name: test.name, Account: test.account})
		if !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s reserves %s: %v, want %v", test.by.Account, test.name, err, test.want)
		}
		if e, ok := errs.From(err); test.conflict != "" && (!ok || e.Metadata()["conflict"] != test.conflict) {
			t.Errorf("%s: the conflict is %v, want %s", test.name, e.Metadata(), test.conflict)
		}
	}
}

// Whoever comes second must see what the first one did, whichever it was: each
// compares what the other one writes.
func TestNothingSlipsBetweenAReservationAndABind(t *testing.T) {
	t.Parallel()
	reserve := func(f *fixture, name string) error {
		_, err := f.Reserve(f.t.Context(), operator("acme"), directory.Reservation{Name: name})
		return err
	}
	for name, test := range map[string]struct {
		first, second func(*fixture) error // the second one between the first one's read and commit
	}{
		"bind, its name is reserved": {
			func(f *fixture) error { return f.tryBind("other", "x.dev.example.com") },
			func(f *fixture) error { return reserve(f, "x.dev.example.com") },
		},
		"bind, a wildcard above is reserved": {
			func(f *fixture) error { return f.tryBind("other", "x.y.dev.example.com") },
			func(f *fixture) error { return reserve(f, "*.dev.example.com") },
		},
		"bind, a wildcard above is bound": {
			func(f *fixture) error { return f.tryBind("other", "x.y.dev.example.com") },
			func(f *fixture) error { return f.tryBind("acme", "*.dev.example.com") },
		},
		"reserve, the name is bound": {
			func(f *fixture) error { return reserve(f, "x.dev.example.com") },
			func(f *fixture) error { return f.tryBind("other", "x.dev.example.com") },
		},
		"reserve, a wildcard above is bound": {
			func(f *fixture) error { return reserve(f, "x.dev.example.com") },
			func(f *fixture) error { return f.tryBind("other", "*.dev.example.com") },
		},
		"reserve a wildcard, a name below is bound": {
			func(f *fixture) error { return reserve(f, "*.dev.example.com") },
			func(f *fixture) error { return f.tryBind("other", "x.y.dev.example.com") },
		},
		"reserve a wildcard, a name below is reserved": {
			func(f *fixture) error { return reserve(f, "*.dev.example.com") },
			func(f *fixture) error { f.reserve(operator("other"), "", "x.y.dev.example.com"); return nil },
		},
		"bind a wildcard, a name below is bound": {
			func(f *fixture) error { return f.tryBind("other", "*.dev.example.com") },
			func(f *fixture) error { return f.tryBind("acme", "x.y.dev.example.com") },
		},
		"bind a wildcard, a name below is reserved": {
			func(f *fixture) error { return f.tryBind("other", "*.dev.example.com") },
			func(f *fixture) error { return reserve(f, "x.y.dev.example.com") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			happened := false
			f.store.meanwhile = func() {
				happened = true
				if err := test.second(f); err != nil {
					t.Error(err)
				}
			}
			if err := test.first(f); !errors.Is(err, directory.ErrNameTaken) {
				t.Errorf("the first one: %v", err)
			}
			if !happened {
				t.Error("nothing happened in between")
			}
		})
	}
}

func TestAReservationsLife(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ctx, acme := t.Context(), operator("acme")
	first := f.reserve(acme, "", "app.example.com")
	if again := f.reserve(acme, "acme", "APP.example.com"); again.Version != first.Version {
		t.Error("a repeat is another reservation")
	}
	if _, err := f.Reserve(ctx, acme, directory.Reservation{Name: "app.example.com", Description: "x"}); !errors.Is(err, directory.ErrReserved) {
		t.Errorf("another one of the same name: %v", err)
	}
	if _, err := f.Reservation(ctx, operator("other"), "app.example.com"); !errors.Is(err, directory.ErrReservationNotFound) {
		t.Errorf("a stranger reads it: %v", err)
	}
	text := "the shop"
	changed, err := f.UpdateReservation(ctx, acme, "app.example.com", directory.Change{Description: &text, Version: first.Version})
	if err != nil || changed.Description != text || changed.Version == first.Version {
		t.Fatalf("update: %+v, %v", changed, err)
	}
	if read, err := f.Reservation(ctx, acme, "app.example.com"); err != nil || read.Version != changed.Version || read.Description != text {
		t.Errorf("read: %+v, %v", read, err)
	}
	if _, err := f.UpdateReservation(ctx, acme, "app.example.com", directory.Change{Description: new(string), Version: first.Version}); !errors.Is(err, directory.ErrEtag) {
		t.Errorf("an update of what was read long ago: %v", err)
	}
	other := "other"
	if _, err := f.UpdateReservation(ctx, acme, "app.example.com", directory.Change{Account: &other}); !errors.Is(err, principal.ErrRole) {
		t.Errorf("an operator gives it away: %v", err)
	}
	if err := f.tryBind("acme", "app.example.com"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.UpdateReservation(ctx, admin, "app.example.com", directory.Change{Account: &other}); !errors.Is(err, directory.ErrNameTaken) {
		t.Errorf("it is given away while it is bound: %v", err)
	}
	if err := f.Close(ctx, acme, "app.example.com"); err != nil {
		t.Fatal(err)
	}
	moved, err := f.UpdateReservation(ctx, admin, "app.example.com", directory.Change{Account: &other})
	if err != nil || moved.Account != other {
		t.Fatalf("moved: %+v, %v", moved, err)
	}
	if got := f.keys("index/reservation/"); len(got) != 1 || got[0] != "index/reservation/other/com/example/app" {
		t.Errorf("the index is %v", got)
	}
	if err := f.Unreserve(ctx, acme, "app.example.com", 0); !errors.Is(err, directory.ErrReservationNotFound) {
		t.Errorf("a stranger gives it up: %v", err)
	}
	if err := f.Unreserve(ctx, operator(other), "app.example.com", changed.Version); !errors.Is(err, directory.ErrEtag) {
		t.Errorf("given up as it was: %v", err)
	}
	if err := f.Unreserve(ctx, operator(other), "app.example.com", moved.Version); err != nil {
		t.Fatal(err)
	}
	if got := append(f.keys("index/reservation/"), f.keys("state/reserve/")...); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestReservationsAreListedPageByPage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for i := range 7 {
		f.reserve(operator("acme"), "", fmt.Sprintf("n%d.example.com", i))
		f.reserve(operator("other"), "", fmt.Sprintf("o%d.example.com", i))
	}
	for _, test := range []struct {
		by   directory.Caller
		of   string
		want int
	}{{operator("acme"), "", 7}, {admin, "", 14}, {admin, "other", 7}} {
		var names []string
		for after := ""; ; {
			page, err := f.Reservations(t.Context(), test.by, test.of, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				names = append(names, r.Name)
			}
			if len(page) < 3 {
				break
			}
			after = page[len(page)-1].Name
		}
		if len(names) != test.want {
			t.Errorf("%s of %q: %v", test.by.Account, test.of, names)
		}
	}
	if _, err := f.Reservations(t.Context(), operator("acme"), "other", "", 3); !errors.Is(err, principal.ErrForeign) {
		t.Errorf("those of others: %v", err)
	}
}
