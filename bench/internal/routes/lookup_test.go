package routes

import "testing"

func TestParse(t *testing.T) {
	t.Parallel()
	const out = `cpu: some
BenchmarkLookup          	  240466	       150.5 ns/op	       385.8 B/route	       0 B/op	       0 allocs/op
BenchmarkLookup-2        	  175597	        90 ns/op	       385.8 B/route	       0 B/op	       1 allocs/op
BenchmarkLookupOfOne     	 5661510	       329.0 ns/op	       0 B/op	       0 allocs/op
BenchmarkLookupOfOne-2   	10780083	        98.34 ns/op	       0 B/op	       0 allocs/op
PASS
`
	list, err := parse(out)
	if err != nil || len(list) != 4 {
		t.Fatalf("%v, %v", list, err)
	}
	if l := list[0]; l.nanoseconds != 150.5 || l.bytes != 385.8 || l.allocations != 0 {
		t.Errorf("%+v", l)
	}
	if l := list[1]; l.nanoseconds != 90 || l.allocations != 1 {
		t.Errorf("%+v", l)
	}
	if l := list[3]; l.nanoseconds != 98.34 || l.bytes != 0 {
		t.Errorf("%+v", l)
	}
	if list, err := parse("PASS\n"); err == nil {
		t.Errorf("nothing has run: %v", list)
	}
}
