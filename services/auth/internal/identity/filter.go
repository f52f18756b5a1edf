package identity

import "github.com/dialback/dialback/internal/principal"

// TokenFilter chooses tokens; what is empty chooses all.
type TokenFilter struct {
	Account string
	// Kind is asked for if HasKind is set: the kind of authtokens is empty.
	Kind    Kind
	HasKind bool
	Role    principal.Role // None: all
	Subject string
}

func (f TokenFilter) matches(t Token) bool {
	return (!f.HasKind || t.Kind == f.Kind) && (f.Role == principal.None || t.Role == f.Role) && (f.Subject == "" || t.Subject == f.Subject)
}

// AccountFilter chooses accounts; what is empty chooses all.
type AccountFilter struct {
	ID       string
	Disabled *bool
}

func (f AccountFilter) matches(a Account) bool {
	return (f.ID == "" || a.ID == f.ID) && (f.Disabled == nil || a.Disabled == *f.Disabled)
}

// maxReads bounds how often the store is read for one page: a filter that nothing
// matches must not read all there is in one call.
const maxReads = 20

// matching returns a page of what matches behind a key, and the key to go on
// behind; empty: the end. The page is not full where few match.
func matching[T any](size int, after string, matches func(T) bool, key func(T) string, read func(after string, limit int) ([]T, error)) (page []T, next string, err error) {
	for range maxReads {
		list, err := read(after, size+1)
		if err != nil {
			return nil, "", err
		}
		for i, one := range list[:min(size, len(list))] {
			after = key(one)
			if !matches(one) {
				continue
			}
			if page = append(page, one); len(page) == size && i+1 < len(list) {
				return page, after, nil
			}
		}
		if len(list) <= size {
			return page, "", nil
		}
	}
	return page, after, nil
}
