package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Sample is the sum and the count of a metric's observations; of a plain one its
// value as sum.
type Sample struct{ Sum, Count float64 }

// Mean is the mean of what was observed since an earlier sample; 0: nothing was.
func (s Sample) Mean(since Sample) float64 {
	if s.Count == since.Count {
		return 0
	}
	return (s.Sum - since.Sum) / (s.Count - since.Count)
}

// Fsync is what etcd's writes to the disk have taken, in seconds.
func (e *Etcd) Fsync(ctx context.Context) (Sample, error) {
	return Scrape(ctx, "http://"+e.Address+"/metrics", "etcd_disk_wal_fsync_duration_seconds")
}

// Scrape reads one metric without labels from a page of metrics.
func Scrape(ctx context.Context, url, name string) (s Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return s, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer func() { _ = resp.Body.Close() }()
	found := false
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		key, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		switch key {
		case name, name + "_sum":
			s.Sum, found = value, true
		case name + "_count":
			s.Count = value
		}
	}
	if !found {
		return s, fmt.Errorf("%s has no %s", url, name)
	}
	return s, nil
}
