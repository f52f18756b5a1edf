package route

import (
	"hash/maphash"
	"sync/atomic"
)

// element is what an index holds. An element's key never changes.
type element[T any] interface {
	*T
	key() string
}

// index finds elements by their keys: a hash table of pointers, half to three
// quarters full at most. One goroutine at a time may write; any number may
// read meanwhile, without a lock: an element that is replaced keeps its slot, and
// one that is removed leaves a mark there, so that no reader stops before a slot
// that it is looking for. Its memory is a third of a Go map's.
type index[T any, P element[T]] struct {
	seed  maphash.Seed
	slots atomic.Pointer[[]atomic.Pointer[T]]
	gone  *T  // the mark
	live  int // elements
	used  int // slots that are not empty
}

// smallest is how many slots an index has at least, a power of two.
const smallest = 4

func newIndex[T any, P element[T]](seed maphash.Seed) *index[T, P] {
	x := &index[T, P]{seed: seed, gone: new(T)}
	x.slots.Store(newSlots[T](smallest))
	return x
}

func newSlots[T any](n int) *[]atomic.Pointer[T] {
	slots := make([]atomic.Pointer[T], n)
	return &slots
}

// get returns the element with a key, or nil.
func (x *index[T, P]) get(key string) P {
	slots := *x.slots.Load()
	e, _ := x.find(slots, key)
	return e
}

// find returns the element with a key and its slot, or nil and an empty slot.
func (x *index[T, P]) find(slots []atomic.Pointer[T], key string) (P, *atomic.Pointer[T]) {
	mask := uint64(len(slots) - 1)
	for i := maphash.String(x.seed, key) & mask; ; i = (i + 1) & mask {
		e := slots[i].Load()
		if e == nil || e != x.gone && P(e).key() == key {
			return e, &slots[i]
		}
	}
}

// put enters an element, in place of the one that has its key.
func (x *index[T, P]) put(e P) {
	old, slot := x.find(*x.slots.Load(), e.key())
	if old == nil {
		if 4*(x.used+1) > 3*len(*x.slots.Load()) {
			x.rebuild()
			_, slot = x.find(*x.slots.Load(), e.key())
		}
		x.live++
		x.used++
	}
	slot.Store(e)
}

// remove takes out what has a key, if anything has.
func (x *index[T, P]) remove(key string) {
	if old, slot := x.find(*x.slots.Load(), key); old != nil {
		slot.Store(x.gone)
		x.live--
	}
}

// rebuild makes room for another element, without the marks. Readers go on in
// the old slots until they are done.
func (x *index[T, P]) rebuild() {
	n := smallest
	for 3*n < 5*(x.live+1) {
		n *= 2
	}
	slots := newSlots[T](n)
	for e := range x.each {
		_, slot := x.find(*slots, e.key())
		slot.Store(e)
	}
	x.used = x.live
	x.slots.Store(slots)
}

// each calls f for every element until it answers false. What is put or removed
// meanwhile may be missed.
func (x *index[T, P]) each(f func(P) bool) {
	slots := *x.slots.Load()
	for i := range slots {
		if e := slots[i].Load(); e != nil && e != x.gone && !f(e) {
			return
		}
	}
}
