package grpcapi

import (
	"strconv"

	"github.com/dialback/dialback/internal/filter"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// kinds are the values of the field "kind".
var kinds = map[string]identity.Kind{"agent": identity.AgentToken, "api": identity.APIKey, "user": identity.UserKey}

// tokenFilter reads the filter of a list of tokens, beside the account that was
// asked for otherwise.
func tokenFilter(text, account string) (identity.TokenFilter, error) {
	f := identity.TokenFilter{Account: account}
	wanted, err := filter.Parse(text, "account_id", "kind", "role", "subject")
	if err != nil {
		return f, err
	}
	if named := wanted["account_id"]; named != "" {
		if account != "" && account != named {
			return f, badFilter("account_id is another one than the request's")
		}
		f.Account = named
	}
	if kind := wanted["kind"]; kind != "" {
		if f.Kind, f.HasKind = kinds[kind]; !f.HasKind {
			return f, badFilter("kind is agent, api or user")
		}
	}
	if role := wanted["role"]; role != "" {
		if f.Role, err = principal.ParseRole(role); err != nil {
			return f, badFilter("role is agent, read-only, operator or admin")
		}
	}
	f.Subject = wanted["subject"]
	return f, nil
}

func accountFilter(text string) (f identity.AccountFilter, err error) {
	wanted, err := filter.Parse(text, "id", "disabled")
	if err != nil {
		return f, err
	}
	f.ID = wanted["id"]
	if word := wanted["disabled"]; word != "" {
		disabled, err := strconv.ParseBool(word)
		if err != nil || word != strconv.FormatBool(disabled) {
			return f, badFilter("disabled is true or false")
		}
		f.Disabled = &disabled
	}
	return f, nil
}

func badFilter(text string) error {
	return filter.ErrInvalid.WithMessage("filter: %s", text).WithField("filter", text)
}
