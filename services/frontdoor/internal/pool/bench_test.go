package pool

import (
	"fmt"
	"testing"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// One agent, and many, under visitors of all CPUs: what a warm visitor costs.
func BenchmarkGetPut(b *testing.B) {
	for _, agents := range []int{1, 1000} {
		b.Run(fmt.Sprintf("agents=%d", agents), func(b *testing.B) {
			r := newRig(b, Config{Max: 16_000})
			defer r.close()
			ids := make([]route.Agent, agents)
			for i := range ids {
				ids[i].ID = fmt.Sprintf("agent-%d", i)
				for range max(1, 64/agents) {
					r.arrive(ids[i], Visitor)
				}
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if c, w, _ := r.Get(ids[i%agents]); c != nil {
						r.Put(c)
					} else {
						w.Leave()
					}
				}
			})
		})
	}
}
