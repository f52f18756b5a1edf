package main

import (
	"io"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want int // scenarios; 0: an error
	}{
		{nil, len(scenarios())},
		{[]string{"--only", "burst"}, 1},
		{[]string{"--only", "burst,throughput"}, 2},
		{[]string{"--only", "burst,nothing"}, 0},
		{[]string{"--nothing"}, 0},
	} {
		o, err := parse(test.args, io.Discard)
		if (err == nil) != (test.want > 0) || err == nil && len(o.scenarios) != test.want {
			t.Errorf("%q: %d scenarios, %v", test.args, len(o.scenarios), err)
		}
	}
}
