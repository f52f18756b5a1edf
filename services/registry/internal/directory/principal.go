package directory

// Principal is who asks, in auth's word. Nothing in it is a connector's.
type Principal struct {
	Account  string
	Agent    string
	Instance string
	Token    string
	// Grants of the token; nil, for a token without any: each name of the
	// deployment's domain and no other.
	Grants Grants
	// Limits of the account.
	Limits Limits
	// MaxConnections of the account, for its claims; 0: none.
	MaxConnections uint32
}

// Actor is p as the audit has it.
func (p Principal) Actor() string { return "token:" + p.Token }

// Grants says what a token may be used for.
type Grants interface {
	// AllowsHost reports whether a canonical hostname or wildcard may be bound.
	AllowsHost(host string) bool
	// AllowsPort reports whether a port may be bound.
	AllowsPort(port uint16) bool
}
