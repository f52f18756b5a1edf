package filter_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/filter"
)

func TestFiltersAreTermsJoinedByAND(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]string{
		"":                                 {},
		"account_id=acme":                  {"account_id": "acme"},
		"account_id = acme AND agent_id=x": {"account_id": "acme", "agent_id": "x"},
		"agent_id=a=b":                     {"agent_id": "a=b"},
	} {
		got, err := filter.Parse(text, "account_id", "agent_id")
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestAFilterThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"acme", "account_id=", "=acme", "owner=acme", "account_id=a AND account_id=b", "account_id=a AND "} {
		_, err := filter.Parse(text, "account_id")
		e, _ := errs.From(err)
		if !errors.Is(err, filter.ErrInvalid) || len(e.Fields()) != 1 || e.Fields()[0].Name != "filter" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
