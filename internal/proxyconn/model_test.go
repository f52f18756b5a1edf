package proxyconn

import (
	"flag"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var modelDepth = flag.Int("model.deeper", 0, "steps more than by default in TestEveryOrdering")

// scenario is a set of actions, and the position from which every ordering of
// depth of them is tried.
type scenario struct {
	name      string
	actions   map[string]int // how often each may be taken
	exchanges int
	depth     int
	prefix    []string

	http                     bool
	slow                     bool // the local service's writes arrive and do not return
	holdFrontdoor, holdAgent bool // writes are seen before they have returned
	strangers                bool
}

// node is a state of the world that some ordering leads to.
type node struct {
	path []string
	next []string // names of the actions that are possible
	to   []string // the states they lead to
}

// Every ordering of what visitor, local service, agent, frontdoor and network
// can do keeps the promises that model*_test.go check after each step, and ends
// well. Orderings that lead to the same state are continued once.
func TestEveryOrdering(t *testing.T) {
	t.Parallel()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			sc.depth += *modelDepth
			explore(t, &sc)
		})
	}
}

func explore(t *testing.T, sc *scenario) {
	began := time.Now()
	root, first := visitState(t, sc, sc.prefix, nil)
	seen := map[string]*node{root: first}
	level := []*node{first}
	steps := 0
	for range sc.depth {
		var below []*node
		for _, n := range level {
			for _, name := range n.next {
				steps++
				state, reached := visitState(t, sc, append(slices.Clone(n.path), name), seen)
				if t.Failed() {
					return
				}
				n.to = append(n.to, state)
				if reached != nil {
					seen[state] = reached
					below = append(below, reached)
				}
			}
		}
		level = below
	}
	t.Logf("%v orderings of %d steps behind %d: %d states, %d steps tried in %v",
		orderings(seen, root, sc.depth), sc.depth, len(sc.prefix), len(seen), steps, time.Since(began).Round(time.Millisecond))
}

// orderings counts the paths from root of the depth, and those that end before.
func orderings(seen map[string]*node, root string, depth int) *big.Int {
	total, ways := new(big.Int), map[string]*big.Int{root: big.NewInt(1)}
	for range depth {
		below := map[string]*big.Int{}
		for state, n := range ways {
			if len(seen[state].to) == 0 {
				total.Add(total, n)
			}
			for _, to := range seen[state].to {
				if below[to] == nil {
					below[to] = new(big.Int)
				}
				below[to].Add(below[to], n)
			}
		}
		ways = below
	}
	for _, n := range ways {
		total.Add(total, n)
	}
	return total
}

// visitState walks a path in a new world. A state that was not seen before is
// finished as well; else the node is nil.
func visitState(t *testing.T, sc *scenario, path []string, seen map[string]*node) (state string, n *node) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if t.Failed() {
				t.Logf("behind %q", path)
			}
		}()
		w := newWorld(t, sc)
		defer w.close()
		actions := allActions
		for i, name := range path {
			if i == len(sc.prefix) {
				clear(w.used)
			}
			a := actions[slices.IndexFunc(actions, func(a action) bool { return a.name == name })]
			if !a.can(w) {
				t.Fatalf("%s is not possible", name)
			}
			w.step(a)
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
		}
		if len(path) == len(sc.prefix) {
			clear(w.used)
		}
		state = w.fingerprint()
		if seen[state] != nil {
			return
		}
		n = &node{path: path}
		for _, a := range actions {
			if w.used[a.name] < sc.may(a) && a.can(w) {
				n.next = append(n.next, a.name)
			}
		}
		if err := w.finish(); err != nil {
			t.Fatalf("at the end: %v", err)
		}
	})
	return state, n
}

// may is how often an action may be taken.
func (sc *scenario) may(a action) int {
	if strings.HasPrefix(a.name, "stranger") {
		if sc.strangers {
			return 1
		}
		return 0
	}
	return sc.actions[a.name]
}

// fingerprint tells states apart that may go on differently: all that both ends
// remember, what is under way, and what may still be done.
func (w *world) fingerprint() string {
	var b strings.Builder
	names := slices.Sorted(maps.Keys(w.used))
	for _, name := range names {
		fmt.Fprint(&b, name, w.used[name], " ")
	}
	fmt.Fprint(&b, w.retired, w.cut)
	w.s.mu.Lock()
	dump(&b, reflect.ValueOf(w.s).Elem())
	w.s.mu.Unlock()
	w.c.mu.Lock()
	dump(&b, reflect.ValueOf(w.c).Elem())
	w.c.mu.Unlock()
	for _, c := range []*mconn{w.f, w.a} {
		c.mu.Lock()
		fmt.Fprint(&b, "\nwire", len(c.ready), c.closed, c.readErr, c.writeErr, len(c.held)-c.released, w.mayDie[c])
		for _, p := range c.sent {
			fmt.Fprint(&b, p.kind, p.exchange, len(p.bytes), p.reset)
		}
		c.mu.Unlock()
		r := *w.refereeOf(c)
		r.wrong = nil
		fmt.Fprintf(&b, "\n%+v", r)
	}
	for _, v := range w.visits {
		fmt.Fprint(&b, "\nvisit", len(v.wrote), len(v.got), v.request, v.readErr, v.between, v.closedWrite, v.closedRead, v.closed, v.aborted,
			v.decided, len(v.replied), v.resets, v.pipeDone, v.pipeErr, v.undelivered, v.judged)
		if v.e != nil {
			dump(&b, reflect.ValueOf(v.e).Elem())
		}
		if v.ce != nil {
			dump(&b, reflect.ValueOf(v.ce).Elem())
		}
		if s := v.service; s != nil {
			fmt.Fprint(&b, len(s.reply), s.fin, s.rst, s.deaf, len(s.got), s.gotEnd, s.slow, s.inWrite, s.closed, s.writeFails)
		}
	}
	return b.String()
}

// dump writes the plain fields of a struct.
func dump(b *strings.Builder, v reflect.Value) {
	b.WriteByte('{')
	defer b.WriteByte('}')
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Bool:
			fmt.Fprint(b, f.Bool(), " ")
		case reflect.Int, reflect.Int64:
			fmt.Fprint(b, f.Int(), " ")
		case reflect.Uint8, reflect.Uint64:
			fmt.Fprint(b, f.Uint(), " ")
		case reflect.Slice:
			fmt.Fprint(b, f.Len(), " ")
		case reflect.Pointer:
			fmt.Fprint(b, f.IsNil(), " ")
		case reflect.Interface:
			if !f.IsNil() {
				f = f.Elem()
			}
			fmt.Fprint(b, f.Type(), " ")
		case reflect.Struct:
			switch f.Type() {
			case reflect.TypeFor[time.Time]():
				fmt.Fprint(b, f.IsZero(), " ")
			case reflect.TypeFor[link](), reflect.TypeFor[Outcome]():
				dump(b, f)
			}
		}
	}
}
