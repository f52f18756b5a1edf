package nodes

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type key struct {
	kind Kind
	id   string
}

// Table is read without a lock and written by whoever follows the registry.
type Table struct {
	now  func() time.Time
	view atomic.Pointer[view]
	mu   sync.Mutex // of who writes
}

// view is the table at one moment. It is immutable: a change makes a new one.
type view struct {
	nodes           map[key]*Node
	readyFrontdoors []string
	readyConnectors []*Node
	otherConnectors []*Node
	changed         chan struct{} // closed when there is a newer one
}

// NewTable returns an empty table.
func NewTable(now func() time.Time) *Table {
	t := &Table{now: now}
	t.view.Store(&view{changed: make(chan struct{})})
	return t
}

// Connector returns a connector, nil if it is not known.
func (t *Table) Connector(id string) *Node { return t.view.Load().nodes[key{Connector, id}] }

// Frontdoor returns a frontdoor, nil if it is not known.
func (t *Table) Frontdoor(id string) *Node { return t.view.Load().nodes[key{Frontdoor, id}] }

// ReadyFrontdoors returns the ids of the frontdoors that want visitors, in
// order, this one too once the registry has heard of it. The list is shared.
func (t *Table) ReadyFrontdoors() []string { return t.view.Load().readyFrontdoors }

// Connectors returns those that take sessions, and the others. The lists are
// shared.
func (t *Table) Connectors() (ready, others []*Node) {
	v := t.view.Load()
	return v.readyConnectors, v.otherConnectors
}

// Frontdoors returns all frontdoors.
func (t *Table) Frontdoors() []*Node {
	var list []*Node
	for k, n := range t.view.Load().nodes {
		if k.kind == Frontdoor {
			list = append(list, n)
		}
	}
	return list
}

// Changed is closed at the next change. Ask for it before you read.
func (t *Table) Changed() <-chan struct{} { return t.view.Load().changed }

// Replace makes the table what a snapshot says. Nodes that it does not name
// have vanished.
func (t *Table) Replace(list []Node) {
	t.change(func(next map[key]*Node) {
		named := make(map[key]bool, len(list))
		for _, n := range list {
			named[key{n.Kind, n.ID}] = true
			put(next, n)
		}
		for k := range next {
			if !named[k] {
				t.vanish(next, k)
			}
		}
	})
}

// Put enters a node, or what is new of it.
func (t *Table) Put(n Node) {
	t.change(func(next map[key]*Node) { put(next, n) })
}

// Vanish says that the registry does not name a node any more.
func (t *Table) Vanish(kind Kind, id string) {
	t.change(func(next map[key]*Node) { t.vanish(next, key{kind, id}) })
}

// Unreachable says that a node could not be connected. If the registry does not
// name it either, it is forgotten.
func (t *Table) Unreachable(n *Node) {
	k := key{n.Kind, n.ID}
	if known := t.view.Load().nodes[k]; known == nil || known.VanishedAt.IsZero() {
		return
	}
	t.change(func(next map[key]*Node) {
		if known := next[k]; known != nil && !known.VanishedAt.IsZero() {
			delete(next, k)
		}
	})
}

// Expire forgets what has vanished long ago. To be called now and then.
func (t *Table) Expire() {
	vanished := false
	for _, n := range t.view.Load().nodes {
		vanished = vanished || !n.VanishedAt.IsZero()
	}
	if !vanished {
		return
	}
	t.change(func(next map[key]*Node) {
		maps.DeleteFunc(next, func(_ key, n *Node) bool {
			return !n.VanishedAt.IsZero() && t.now().Sub(n.VanishedAt) >= vanishedFor
		})
	})
}

func put(next map[key]*Node, n Node) {
	k := key{n.Kind, n.ID}
	if next[k] != nil || len(next) < maxNodes {
		n.VanishedAt = time.Time{}
		next[k] = &n
	}
}

func (t *Table) vanish(next map[key]*Node, k key) {
	n := next[k]
	if n == nil || !n.VanishedAt.IsZero() {
		return
	}
	gone := *n
	gone.VanishedAt = t.now()
	next[k] = &gone
}

// change publishes a changed copy.
func (t *Table) change(f func(next map[key]*Node)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.view.Load()
	next := maps.Clone(before.nodes)
	if next == nil {
		next = map[key]*Node{}
	}
	f(next)
	t.view.Store(newView(next, t.now()))
	close(before.changed)
}

func newView(nodes map[key]*Node, now time.Time) *view {
	v := &view{nodes: nodes, changed: make(chan struct{})}
	for k, n := range nodes {
		switch {
		case k.kind == Connector && n.ready(now):
			v.readyConnectors = append(v.readyConnectors, n)
		case k.kind == Connector:
			v.otherConnectors = append(v.otherConnectors, n)
		case n.ready(now):
			v.readyFrontdoors = append(v.readyFrontdoors, k.id)
		}
	}
	slices.Sort(v.readyFrontdoors)
	return v
}
