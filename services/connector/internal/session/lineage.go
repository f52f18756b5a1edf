package session

import "slices"

// maxHolders bounds what is remembered of names that were bound here.
const maxHolders = 65536

// process is one process of one agent.
type process struct {
	agent    string
	instance Instance
}

// holder is the process that a name was last seen with.
type holder struct {
	process
	generation uint64
}

// lineage remembers which process held a name last, beyond its session, and which
// processes were superseded by another one of their agent. One that comes back,
// on a laptop that was suspended for instance, would else take its names back,
// and then the other one again, for ever.
type lineage struct {
	holders    map[string]holder // by hostname
	superseded recent[process]
}

func newLineage() lineage {
	return lineage{holders: make(map[string]holder), superseded: recent[process]{limit: maxHolders}}
}

// bound notes that a name was bound through this connector.
func (l *lineage) bound(hostname string, generation uint64, p process) {
	if _, known := l.holders[hostname]; !known {
		if len(l.holders) >= maxHolders {
			for other := range l.holders { // which one does not matter
				delete(l.holders, other)
				break
			}
		}
		l.holders[hostname] = holder{process: p, generation: generation}
	}
	l.claimed(hostname, generation, p)
}

// claimed notes who has a name that was bound here once. News may come late and
// in any order: the generation decides.
func (l *lineage) claimed(hostname string, generation uint64, p process) {
	last, known := l.holders[hostname]
	if !known || generation <= last.generation {
		return
	}
	l.holders[hostname] = holder{process: p, generation: generation}
	if last.agent == p.agent && last.instance != p.instance {
		l.superseded.add(last.process)
	}
}

// recent is a set that forgets the oldest.
type recent[K comparable] struct {
	limit int
	set   map[K]struct{}
	order []K
}

func (r *recent[K]) has(key K) bool {
	_, ok := r.set[key]
	return ok
}

func (r *recent[K]) drop(key K) {
	if r.has(key) {
		delete(r.set, key)
		r.order = slices.DeleteFunc(r.order, func(other K) bool { return other == key })
	}
}

func (r *recent[K]) add(key K) {
	if r.has(key) {
		return
	}
	if r.set == nil {
		r.set = make(map[K]struct{})
	}
	if len(r.order) == r.limit {
		delete(r.set, r.order[0])
		r.order = r.order[1:]
	}
	r.set[key] = struct{}{}
	r.order = append(r.order, key)
}
