package grpcapi

import (
	"errors"
	"testing"
)

func TestPositionsComeBackAsTheyWent(t *testing.T) {
	t.Parallel()
	for _, p := range []position{{}, {auth: 7, registry: 1 << 60, epoch: 3}} {
		if got, err := parsePosition(p.String()); err != nil || got != p {
			t.Errorf("%s: %v, %v", p, got, err)
		}
	}
	if p, err := parsePosition(""); err != nil || p != (position{}) {
		t.Errorf("from now: %v, %v", p, err)
	}
	if p, err := parsePosition("0"); err != nil || p.auth != everything || p.registry != everything {
		t.Errorf("all: %v, %v", p, err)
	}
	for _, text := range []string{"x", "1", "1-2", "1-2-3-4", "-1-2-3", "1--2-3", "1-2-3x", "1-2-9223372036854775808", "+1-2-3"} {
		if _, err := parsePosition(text); !errors.Is(err, errPosition) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
