package controlplane

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestScrape(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# HELP took Seconds.\ntook_bucket{le=\"1\"} 3\ntook_sum 1.5\ntook_count 3\nplain 7e+06\n")
	}))
	defer page.Close()
	for name, want := range map[string]Sample{"took": {1.5, 3}, "plain": {7e6, 0}} {
		if got, err := Scrape(t.Context(), page.URL, name); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	if got, err := Scrape(t.Context(), page.URL, "nothing"); err == nil {
		t.Errorf("a metric that is not there is %v", got)
	}
	if mean := (Sample{7, 4}).Mean(Sample{1, 1}); mean != 2 {
		t.Errorf("6 seconds in 3 observations are %v each", mean)
	}
}
