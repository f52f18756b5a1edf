package scenario

import "testing"

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []int
		want   int
	}{{[]int{7}, 7}, {[]int{9, 1, 5}, 5}, {[]int{4, 3, 2, 1}, 2}} {
		if got := Median(test.values); got != test.want {
			t.Errorf("Median(%v) = %d, want %d", test.values, got, test.want)
		}
	}
}
