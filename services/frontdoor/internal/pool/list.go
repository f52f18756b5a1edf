package pool

// Each idle connection is on two lists.
const (
	ofAgent = iota // its agent's, the most recently proven one first
	ofShard        // its shard's, the most recently useful one first
)

type links struct {
	next, prev *Conn
	on         *conns
}

// conns is a list of connections whose links are in them: nothing is allocated,
// and any one leaves it at once.
type conns struct {
	kind        int
	first, last *Conn
	n           int
}

func (l *conns) push(c *Conn) { l.insert(nil, c) }

// pushDirectFirst is push, but a relayed connection goes behind those that are
// not: it depends on one more node, and costs it. An agent that comes both ways is
// rare, so the walk is short.
func (l *conns) pushDirectFirst(c *Conn) {
	var before *Conn
	if c.Via != "" {
		for next := l.first; next != nil && next.Via == ""; next = next.links[l.kind].next {
			before = next
		}
	}
	l.insert(before, c)
}

// insert puts c behind another, nil: to the front.
func (l *conns) insert(before, c *Conn) {
	k := &c.links[l.kind]
	k.prev, k.next, k.on = before, l.first, l
	if before != nil {
		k.next = before.links[l.kind].next
		before.links[l.kind].next = c
	} else {
		l.first = c
	}
	if k.next != nil {
		k.next.links[l.kind].prev = c
	} else {
		l.last = c
	}
	l.n++
}

// remove takes c out of the list of this kind that it is on, if it is on one.
func remove(c *Conn, kind int) {
	k := &c.links[kind]
	l := k.on
	if l == nil {
		return
	}
	if k.prev != nil {
		k.prev.links[kind].next = k.next
	} else {
		l.first = k.next
	}
	if k.next != nil {
		k.next.links[kind].prev = k.prev
	} else {
		l.last = k.prev
	}
	*k = links{}
	l.n--
}
