//go:build linux

package netsim

import (
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	t.Run("delay", func(t *testing.T) {
		t.Parallel()
		l := newLine(Config{RTT: 40 * ms}, 0)
		if due, ok := l.due(5*ms, 1500); !ok || due != 25*ms {
			t.Errorf("due %v %v, want 25ms", due, ok)
		}
	})
	t.Run("rate", func(t *testing.T) {
		t.Parallel()
		l := newLine(Config{RTT: 40 * ms, Rate: 12_000_000}, 0) // 1500 bytes a millisecond
		for _, want := range []time.Duration{21 * ms, 22 * ms, 23 * ms} {
			if due, _ := l.due(0, 1500); due != want {
				t.Errorf("due %v, want %v", due, want)
			}
		}
	})
	t.Run("jitter keeps the order", func(t *testing.T) {
		t.Parallel()
		l := newLine(Config{RTT: 40 * ms, Jitter: 10 * ms}, 0)
		last, moved := time.Duration(0), false
		for range 1000 {
			due, _ := l.due(0, 1500)
			if due < last || due < 20*ms || due >= 30*ms {
				t.Fatalf("due %v behind %v", due, last)
			}
			moved = moved || due != last
			last = due
		}
		if !moved {
			t.Error("there is no jitter")
		}
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		l := newLine(Config{Loss: 0.1}, 0)
		lost := 0
		for range 10_000 {
			if _, ok := l.due(0, 1500); !ok {
				lost++
			}
		}
		if lost < 800 || lost > 1200 {
			t.Errorf("%d of 10000 are lost, want about 1000", lost)
		}
	})
}
