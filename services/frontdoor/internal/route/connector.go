package route

import "slices"

// connector is a node and what it has said about its attachments.
type connector struct {
	id           string // never changes: readers see it
	registration int64
	synced       bool // it has attached all it has under this registration
	present      bool // in the node table
	unlinked     bool // our stream to it is broken
	sessions     *index[session, *session]
}

// session is an agent's session with a connector, while something is attached
// through it.
type session struct {
	connector *connector
	id        string
	// name is an endpoint attached through it, others are the rest, which few have.
	name   string
	others *[]string
}

func (s *session) key() string { return s.id }

// names lists the endpoints that are attached. The list is the caller's.
func (s *session) names() []string {
	if s.others == nil {
		return []string{s.name}
	}
	return append([]string{s.name}, *s.others...)
}

func (s *session) add(name string) {
	switch {
	case s.name == "":
		s.name = name
	case s.others == nil:
		s.others = &[]string{name}
	default:
		*s.others = append(*s.others, name)
	}
}

func (s *session) remove(name string) {
	left := slices.DeleteFunc(s.names(), func(n string) bool { return n == name })
	s.name, s.others = "", nil
	if len(left) > 0 {
		s.name = left[0]
	}
	if len(left) > 1 {
		left = left[1:]
		s.others = &left
	}
}

func (t *Table) connector(id string) *connector {
	c := t.connectors[id]
	if c == nil {
		c = &connector{id: id, sessions: newIndex[session](t.seed)}
		t.connectors[id] = c
	}
	return c
}

// session returns the connector's session, a new one if there is none.
func (c *connector) session(id string) *session {
	s := c.sessions.get(id)
	if s == nil {
		s = &session{connector: c, id: id}
		c.sessions.put(s)
	}
	return s
}

// set enters what the node table says.
func (c *connector) set(n Connector) {
	c.registration, c.synced, c.present = n.Registration, n.Synced, true
}

// names lists the endpoints attached through the connector, some of them twice.
func (c *connector) names() []string {
	var list []string
	for s := range c.sessions.each {
		list = append(list, s.names()...)
	}
	return list
}

// forget drops a session that nothing is attached through, and with the last one
// a connector that has left.
func (t *Table) forget(s *session) {
	if s.name == "" {
		s.connector.sessions.remove(s.id)
	}
	t.forgetConnector(s.connector)
}

func (t *Table) forgetConnector(c *connector) {
	if !c.present && c.sessions.live == 0 {
		delete(t.connectors, c.id)
	}
}
