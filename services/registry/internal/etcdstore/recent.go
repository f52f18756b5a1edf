package etcdstore

import "time"

// recent remembers what was added for at least some time, and at most twice as long.
type recent[K comparable] struct {
	keep          time.Duration
	turned        time.Time
	fresh, former map[K]struct{}
}

func newRecent[K comparable](keep time.Duration) *recent[K] {
	return &recent[K]{keep: keep, turned: time.Now(), fresh: map[K]struct{}{}, former: map[K]struct{}{}}
}

func (r *recent[K]) turn() {
	since := time.Since(r.turned)
	if since < r.keep {
		return
	}
	r.former = r.fresh
	if since >= 2*r.keep {
		r.former = map[K]struct{}{}
	}
	r.fresh, r.turned = map[K]struct{}{}, time.Now()
}

func (r *recent[K]) has(key K) bool {
	r.turn()
	_, isNew := r.fresh[key]
	_, isOld := r.former[key]
	return isNew || isOld
}

func (r *recent[K]) add(key K) {
	r.turn()
	r.fresh[key] = struct{}{}
}

func (r *recent[K]) remove(key K) {
	delete(r.fresh, key)
	delete(r.former, key)
}
