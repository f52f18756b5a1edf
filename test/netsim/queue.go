//go:build linux

package netsim

import "time"

// queue holds the packets that are under way in one direction, in order. Its
// memory is taken once, so that a packet costs no allocation.
type queue struct {
	slab    []byte
	packets []packet
	slot    int // bytes of the slab for each packet
	first   int
	count   int
}

type packet struct {
	size int
	due  time.Duration // on the relay's clock
}

func newQueue(capacity, slot int) *queue {
	return &queue{slab: make([]byte, capacity*slot), packets: make([]packet, capacity), slot: slot}
}

// free returns the memory for the next packet, nil when the queue is full.
func (q *queue) free() []byte {
	if q.count == len(q.packets) {
		return nil
	}
	return q.bytes((q.first + q.count) % len(q.packets))
}

// push appends the packet whose size bytes were put into what free returned.
func (q *queue) push(size int, due time.Duration) {
	q.packets[(q.first+q.count)%len(q.packets)] = packet{size: size, due: due}
	q.count++
}

// due says when the first packet is to be delivered; false: there is none.
func (q *queue) due() (time.Duration, bool) {
	if q.count == 0 {
		return 0, false
	}
	return q.packets[q.first].due, true
}

// pop removes the first packet, which stays valid until the next push.
func (q *queue) pop() []byte {
	b := q.bytes(q.first)[:q.packets[q.first].size]
	q.first = (q.first + 1) % len(q.packets)
	q.count--
	return b
}

func (q *queue) bytes(i int) []byte { return q.slab[i*q.slot : (i+1)*q.slot] }
