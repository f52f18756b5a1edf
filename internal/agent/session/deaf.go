package session

import agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"

// Deaf is the Handler of a session that serves nobody: it refuses dial-backs and
// takes note of nothing.
type Deaf struct{}

var _ Handler = Deaf{}

// Dial says that there is no room for a proxy connection.
func (Deaf) Dial(s *Session, d *agentv1.Dial) {
	s.ProxyFailed(d.GetTicket(), agentv1.FailReason_FAIL_REASON_LIMIT)
}

// TunnelClosed does nothing.
func (Deaf) TunnelClosed(*Session, *agentv1.TunnelClosed) {}

// GoAway does nothing.
func (Deaf) GoAway(*Session, *agentv1.GoAway) {}

// Connectors does nothing.
func (Deaf) Connectors(*Session, *agentv1.Connectors) {}
