package grant

// Set is all that a token may do. The empty one allows everything that the
// deployment offers, so whoever builds a Set must not drop what failed to parse.
type Set []Grant

// ParseAll reads the grants of a token. One that is malformed fails them all
// with ErrMalformed: skipping it could leave the empty Set, which allows
// everything.
func ParseAll(texts []string) (Set, error) {
	set := make(Set, 0, len(texts))
	for _, text := range texts {
		g, err := Parse(text)
		if err != nil {
			return nil, err
		}
		set = append(set, g)
	}
	return set, nil
}

// Strings writes the grants in their canonical form, in order.
func (s Set) Strings() []string {
	texts := make([]string, len(s))
	for i, g := range s {
		texts[i] = g.String()
	}
	return texts
}

// AllowsHost reports whether a canonical hostname may be bound.
func (s Set) AllowsHost(host string) bool {
	for _, g := range s {
		if g.AllowsHost(host) {
			return true
		}
	}
	return len(s) == 0
}

// AllowsPort reports whether a TCP port may be bound.
func (s Set) AllowsPort(port uint16) bool {
	for _, g := range s {
		if g.AllowsPort(port) {
			return true
		}
	}
	return len(s) == 0 && port != 0
}
