package burst

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/bench/internal/nginx"
)

func TestSummarize(t *testing.T) {
	t.Parallel()
	of := func(times ...time.Duration) waits {
		for i := range times {
			times[i] *= roundTrip / 4 //nolint:durationcheck // quarters of a round trip
		}
		return sorted(times)
	}
	first := []waits{of(16, 20, 18), of(17, 17, 17), of(16, 16, 40)}
	again := []waits{of(4, 4, 4), of(4, 5, 4), of(4, 6, 4)}
	s := summarize(first, again)
	if got := s.Goals[0]; got.Value != 5 || got.Met() {
		t.Errorf("%s, want the median of the worst: 5.00", got)
	}
	if got := s.Goals[1]; got.Value != 1.25 || !got.Met() {
		t.Errorf("%s, want the median of the worst: 1.25", got)
	}
	if row := s.Tables[0].Rows[0]; row[1] != "4.25" || row[2] != "5.00" {
		t.Errorf("row %q", row)
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	answer := func(status string, size int) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, size, strings.Repeat("x", size))
	}
	for text, good := range map[string]bool{
		answer("200 OK", nginx.FileSize):                  true,
		answer("200 OK", nginx.FileSize-1):                false,
		answer("503 Service Unavailable", nginx.FileSize): false,
		answer("200 OK", nginx.FileSize)[:500]:            false,
		"":                                                false,
	} {
		if err := readAnswer(bufio.NewReader(strings.NewReader(text))); (err == nil) != good {
			t.Errorf("%.40q of %d bytes: %v", text, len(text), err)
		}
	}
}
