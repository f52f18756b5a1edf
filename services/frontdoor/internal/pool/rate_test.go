package pool

import (
	"io"
	"testing"
	"time"
)

// Visitors whose connections do not come back, as those of long downloads, find
// one that was dialled before they came.
func TestThePoolGrowsAheadOfNeed(t *testing.T) {
	inBubble(t, Config{Max: 10_000, Keep: time.Minute}, func(r *rig) {
		misses := 0
		for range 60 * 20 { // a visitor each 50 ms, for a minute
			c, w, ask := r.Get(ann)
			if c == nil {
				misses++
			}
			for i := range ask {
				time.AfterFunc(100*time.Millisecond, func() {
					if r.ctx.Err() == nil {
						why := Adaptive
						if w != nil && i == 0 {
							why = Visitor
						}
						r.arrive(ann, why)
					}
				})
			}
			pass(50 * time.Millisecond)
		}
		pass(time.Second)
		if misses > 20*10 { // while it learns
			t.Errorf("%d of 1200 visitors found nothing", misses)
		}
		s := r.Stats()
		if want := 3; s.Idle < want-1 || s.Idle > want+2 { // 20 a second for 100 ms, and half as much again
			t.Errorf("%d wait in the end", s.Idle)
		}
		pass(2 * time.Minute)
		if s := r.Stats(); s.Idle != 0 {
			t.Errorf("%d wait for nobody", s.Idle)
		}
	})
}

// A service that refuses a thousand visitors a second on one connection needs no
// second one.
func TestConnectionsThatComeBackAreNotReplaced(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		asked := 0
		for range 1000 {
			c, _, ask := r.Get(ann)
			asked += ask
			r.visit(c)
			r.Put(c)
			pass(time.Millisecond)
		}
		if asked != 0 {
			t.Errorf("%d dial-backs", asked)
		}
		r.Failed(ann, asked, io.EOF)
	})
}

func TestABucketPaces(t *testing.T) {
	t.Parallel()
	b, now, taken := NewBucket(100), time.Now(), 0
	for end := now.Add(10 * time.Second); now.Before(end); {
		wait := b.Take(now)
		if wait == 0 {
			taken++
		}
		now = now.Add(max(wait, time.Microsecond))
	}
	if taken < 1000 || taken > 1011 {
		t.Errorf("%d tokens in ten seconds", taken)
	}
	now = now.Add(time.Hour)
	burst := 0
	for b.Take(now) == 0 {
		burst++
	}
	if burst != 10 {
		t.Errorf("%d at once behind a pause", burst)
	}
}

func TestALeavingFrontdoorDialsNothingAhead(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		r.warm(ann)
		want := func() (ask int) {
			for range 100 {
				_, w, n := r.Get(ann)
				w.Leave()
				ask += n - 1
				r.Failed(ann, n, io.EOF)
			}
			return ask
		}
		if want() == 0 {
			t.Error("nothing is dialled ahead for a hundred visitors")
		}
		if r.Drain(); want() != 0 {
			t.Error("it goes on")
		}
	})
}
