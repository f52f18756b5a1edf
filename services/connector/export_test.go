package connector

// Asked returns how many tickets of a session have an open fate; -1: no session.
func (c *Connector) Asked(sessionID string) int {
	if s := c.table.Get(sessionID); s != nil {
		return s.Asked()
	}
	return -1
}

// Sessions returns how many sessions there are.
func (c *Connector) Sessions() int { return c.table.Len() }

// Attachments returns how many tunnels the registry has acknowledged.
func (c *Connector) Attachments() int { return len(c.table.Attachments()) }

// Dropped returns how many of agents' spans were dropped.
func (c *Connector) Dropped() int64 { return c.spans.Dropped() }
