package route

import (
	"fmt"
	"hash/maphash"
	"testing"
)

// Readers take no lock: whatever comes and goes beside it, what stays is found. A
// slot that were emptied by a removal would hide what lies behind it.
func TestWhatStaysIsFoundWhileOthersComeAndGo(t *testing.T) {
	t.Parallel()
	x := newIndex[Route](maphash.MakeSeed())
	named := func(kind string, i int) *Route { return &Route{Claim: Claim{Hostname: fmt.Sprint(kind, i)}} }
	const staying = 64
	for i := range staying {
		x.put(named("stays", i))
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for round := range 50 {
			for i := range 40 * (round%5 + 1) { // it grows, and is cleaned up
				x.put(named("comes", i))
				x.put(named("stays", i%staying)) // replaced
			}
			for i := range 40 * (round%5 + 1) {
				x.remove(named("comes", i).key())
			}
		}
	}()
	for done := false; !done; {
		select {
		case <-written:
			done = true // and once more
		default:
		}
		for i := range staying {
			if name := named("stays", i).key(); x.get(name) == nil {
				t.Fatalf("%s is not found", name)
			}
		}
	}
	if x.get("comes1") != nil || x.live != staying {
		t.Errorf("%d are left of %d", x.live, staying)
	}
	found := map[string]bool{}
	for r := range x.each {
		found[r.key()] = true
	}
	if len(found) != staying {
		t.Errorf("each finds %d of %d", len(found), staying)
	}
}
