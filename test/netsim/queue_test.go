//go:build linux

package netsim

import (
	"fmt"
	"testing"
	"time"
)

func TestQueueKeepsOrderAndBound(t *testing.T) {
	t.Parallel()
	q := newQueue(3, 16)
	if _, ok := q.due(); ok {
		t.Fatal("an empty queue has a first packet")
	}
	pushed, popped := 0, 0
	for round := range 10 { // several times around the ring
		for ; q.count < 3; pushed++ {
			size := copy(q.free(), fmt.Sprintf("packet %d", pushed))
			q.push(size, time.Duration(pushed))
		}
		if q.free() != nil {
			t.Fatal("a full queue has room")
		}
		for range 1 + round%3 {
			due, ok := q.due()
			if got, want := string(q.pop()), fmt.Sprintf("packet %d", popped); !ok || due != time.Duration(popped) || got != want {
				t.Fatalf("popped %q due %d, want %q due %d", got, due, want, popped)
			}
			popped++
		}
	}
}
