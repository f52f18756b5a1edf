package route_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// many is how many endpoints a large deployment has.
const many = 1_000_000

// hex is an id as the services make them; each call makes a string of its own.
func hex(kind, i int) string { return fmt.Sprintf("%08x%024x", uint32(i)*2654435761, kind) }

func nameOf(i int) string { return hex(0, i)[:13] + ".tunnels.example.com" }

// snapshotOf is that of n agents with one tunnel and one session each. No two of
// its strings share memory, like those that a stream has brought.
func snapshotOf(n int) route.Snapshot {
	var s route.Snapshot
	s.Claims, s.Attachments = make([]route.Claim, 0, n), make([]route.Attachment, 0, n)
	for i := range 64 {
		s.Connectors = append(s.Connectors, node(fmt.Sprintf("connector-%02d", i), 1, true))
	}
	for i := range n {
		s.Claims = append(s.Claims, route.Claim{
			Hostname: nameOf(i), Generation: 1, Account: route.AccountOf(fmt.Sprintf("account-%04d", i/1000)),
			Agent: route.Agent{ID: hex(1, i), Instance: route.Instance{byte(i), byte(i >> 8)}}, TunnelID: hex(2, i), Protocol: route.ProtocolHTTP,
		})
		s.Attachments = append(s.Attachments, route.Attachment{
			Hostname: nameOf(i), Generation: 1, ConnectorID: fmt.Sprintf("connector-%02d", i%64), SessionID: hex(3, i),
		})
	}
	return s
}

// filled is a table that has taken a snapshot of n agents, and how many bytes of
// the heap it has for each.
func filled(n int) (table *route.Table, each float64) {
	before := heap()
	table = route.NewTable(time.Now, nil)
	table.Replace(snapshotOf(n), route.Position{Epoch: 1, Revision: 1})
	return table, float64(heap()-before) / float64(n)
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A frontdoor has all routes of its deployment. Not in parallel: others' garbage
// would count.
func TestARouteTakesFourHundredBytes(t *testing.T) { //nolint:paralleltest // see above
	const n = many / 64
	table, each := filled(n)
	if each > 400 {
		t.Errorf("%.0f bytes", each)
	}
	for i := range n {
		if r := table.Lookup(nameOf(i)); r == nil || !r.Through(hex(3, i)) {
			t.Fatalf("%s: %v", nameOf(i), r)
		}
	}
}

// large is a table of a million routes, for all benchmarks.
var large = sync.OnceValues(func() (*route.Table, float64) { return filled(many) })

// BenchmarkLookup looks names up at random, of a million: next to nothing is in the
// processor's caches.
func BenchmarkLookup(b *testing.B) {
	table, each := large()
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = nameOf(rand.IntN(many))
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.ReportMetric(each, "B/route")
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(len(names)); pb.Next(); i++ {
			if table.Lookup(names[i&(len(names)-1)]) == nil {
				b.Error("not found")
				return
			}
		}
	})
}

// BenchmarkLookupOfOne looks the same name up all the time.
func BenchmarkLookupOfOne(b *testing.B) {
	table, _ := large()
	name := nameOf(1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			table.Lookup(name)
		}
	})
}

// BenchmarkSnapshot applies the snapshot of a hundred thousand agents.
func BenchmarkSnapshot(b *testing.B) {
	const n = many / 10
	s := snapshotOf(n)
	for b.Loop() {
		route.NewTable(time.Now, nil).Replace(s, route.Position{Epoch: 1, Revision: 1})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/route")
}
