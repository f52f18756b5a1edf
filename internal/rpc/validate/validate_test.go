package validate_test

import (
	"errors"
	"testing"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc/validate"
)

func TestABrokenRuleNamesItsField(t *testing.T) {
	t.Parallel()
	v := validate.New()
	err := v.Validate(&frontdoorv1.ListSessionsRequest{PageSize: 1001, PageToken: string(make([]byte, 201))})
	if !errors.Is(err, validate.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	e, _ := errs.From(err)
	fields := map[string]string{}
	for _, f := range e.Fields() {
		fields[f.Name] = f.Description
	}
	if len(fields) != 2 || fields["page_size"] == "" || fields["page_token"] == "" {
		t.Errorf("fields: %v", fields)
	}
}

func TestWhatKeepsTheRulesPasses(t *testing.T) {
	t.Parallel()
	v := validate.New()
	if err := v.Validate(&frontdoorv1.ListSessionsRequest{PageSize: 1000}); err != nil {
		t.Error(err)
	}
	if err := v.Validate(&authv1.GetKeysRequest{}); err != nil {
		t.Errorf("a message without rules: %v", err)
	}
}
