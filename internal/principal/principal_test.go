package principal_test

import (
	"errors"
	"testing"

	"github.com/dialback/dialback/internal/principal"
)

func TestRolesAreOrderedAndNamed(t *testing.T) {
	t.Parallel()
	order := []principal.Role{principal.None, principal.Agent, principal.ReadOnly, principal.Operator, principal.Admin}
	for i, role := range order {
		if i > 0 && role <= order[i-1] {
			t.Errorf("%s is not above %s", role, order[i-1])
		}
		parsed, err := principal.ParseRole(role.String())
		if wanted := role != principal.None; wanted != (err == nil) || wanted && parsed != role {
			t.Errorf("ParseRole(%q) = %v, %v", role, parsed, err)
		}
	}
	if _, err := principal.ParseRole("Admin"); err == nil {
		t.Error("a role in another spelling was read")
	}
}

func TestEverybodySeesHisOwnAndAdministratorsAll(t *testing.T) {
	t.Parallel()
	for _, role := range []principal.Role{principal.ReadOnly, principal.Operator} {
		p := principal.Principal{Account: "a", Role: role}
		if !p.Sees("a") || p.Sees("b") || p.Sees("") {
			t.Errorf("%s sees %v, %v, %v", role, p.Sees("a"), p.Sees("b"), p.Sees(""))
		}
		if scope, err := p.Scope(""); err != nil || scope != "a" {
			t.Errorf("%s asks for %q, %v", role, scope, err)
		}
		if _, err := p.Scope("b"); !errors.Is(err, principal.ErrForeign) {
			t.Errorf("%s asks for another account: %v", role, err)
		}
	}
	admin := principal.Principal{Account: "a", Role: principal.Admin}
	if scope, err := admin.Scope(""); err != nil || scope != "" || !admin.Sees("b") {
		t.Errorf("an administrator asks for %q, %v", scope, err)
	}
	if nobody := principal.From(t.Context()); nobody.Sees("") || nobody.Role != principal.None {
		t.Errorf("nobody is %+v", nobody)
	}
	if p := principal.From(principal.With(t.Context(), admin)); p != admin {
		t.Errorf("the context carries %+v", p)
	}
}
