package throughput

import (
	"testing"

	"github.com/dialback/dialback/bench/internal/wrk"
)

// The machine gets slower from round to round; the ratio does not see it.
func TestGoalsCompareWithinARound(t *testing.T) {
	t.Parallel()
	rates := func(values ...float64) (s series) {
		for _, v := range values {
			s = append(s, wrk.Result{Rate: v})
		}
		return s
	}
	r := results{
		shape{32, false}: {viaNginx: rates(40_000, 20_000, 10_000), viaTunnel: rates(20_000, 10_000, 5_000)},
		shape{32, true}:  {viaNginx: rates(100, 100, 100), viaTunnel: rates(10, 90, 40)},
	}
	for i, want := range []float64{0.5, 0.4} {
		if g := r.goals()[i]; g.Value != want {
			t.Errorf("%s is %v, want %v", g.Name, g.Value, want)
		}
	}
}

func TestGoalsHaveTheirShapes(t *testing.T) {
	t.Parallel()
	measured := 0
	for _, s := range shapes {
		if s.rounds() == goalRounds {
			measured++
		}
	}
	if measured != 2 {
		t.Errorf("%d shapes are measured as those with goals, want 2", measured)
	}
}
