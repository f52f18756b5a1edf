package directory

import "github.com/dialback/dialback/internal/grant"

// Principal is who asks, in auth's word. Nothing in it is a connector's.
type Principal struct {
	Account  string
	Agent    string
	Instance string
	Token    string
	Grants   grant.Set
}
