// Package filter reads the filter of a List method: "field=value", several joined
// by " AND ".
package filter

import (
	"slices"
	"strings"

	"github.com/dialback/dialback/internal/errs"
)

// ErrInvalid refuses what is no filter; its text says what is wrong.
var ErrInvalid = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the filter is not valid")

// Parse returns the value of each field that the filter names. Other fields than
// the given ones are refused, and so is a field that is named twice. A value is
// taken as it stands, without quotes.
func Parse(text string, fields ...string) (map[string]string, error) {
	values := map[string]string{}
	if strings.TrimSpace(text) == "" {
		return values, nil
	}
	for term := range strings.SplitSeq(text, " AND ") {
		name, value, ok := strings.Cut(term, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok || value == "":
			return nil, refuse("want field=value instead of %q", term)
		case !slices.Contains(fields, name):
			return nil, refuse("%q is no field of it; there are: %s", name, strings.Join(fields, ", "))
		case values[name] != "":
			return nil, refuse("%q is named twice", name)
		}
		values[name] = value
	}
	return values, nil
}

func refuse(format string, args ...any) error {
	e := ErrInvalid.WithMessage("filter: "+format, args...)
	return e.WithField("filter", strings.TrimPrefix(e.Message(), "filter: "))
}
