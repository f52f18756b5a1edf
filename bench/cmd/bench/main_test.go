package main

import (
	"io"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want int // scenarios; -1: an error
	}{
		{nil, 2},
		{[]string{"--group", "scale"}, len(scenarios()) - 2},
		{[]string{"--group", "nothing"}, -1},
		{[]string{"--only", "burst"}, 1},
		{[]string{"--only", "burst,throughput"}, 2},
		{[]string{"--only", "burst,nothing"}, -1},
		{[]string{"--nothing"}, -1},
	} {
		o, err := parse(test.args, io.Discard)
		if (err == nil) != (test.want >= 0) || err == nil && len(o.scenarios) != test.want {
			t.Errorf("%q: %d scenarios, %v", test.args, len(o.scenarios), err)
		}
	}
}
