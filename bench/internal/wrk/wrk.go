// Package wrk loads a web server with wrk and reads what it found.
package wrk

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dialback/dialback/bench/internal/process"
)

//go:embed report.lua
var reportScript []byte

// marker is in front of the line that report.lua prints.
const marker = "wrk-report "

// overtime is how much longer than the load a run may take.
const overtime = 20 * time.Second

// Load is what wrk is to do.
type Load struct {
	URL         string
	Host        string // of the requests; empty: the URL's
	Connections int
	Close       bool // a new connection for each request, "Connection: close"
	Duration    time.Duration
	MinBytes    int // of each response, headers too; a shorter one on average is an error
}

// Result is what one run measured.
type Result struct {
	Rate     float64 // requests a second
	P50, P99 time.Duration
}

// report is what report.lua prints.
type report struct {
	Requests int64
	Bytes    int64
	Micros   int64 // of the run
	P50, P99 int64 // microseconds
	Connect  int64 // errors, from here on
	Read     int64
	Write    int64
	Status   int64
	Timeout  int64
}

// Runner runs wrk.
type Runner struct{ script string }

// New puts what wrk needs into dir.
func New(dir string) (*Runner, error) {
	script := filepath.Join(dir, "report.lua")
	return &Runner{script: script}, os.WriteFile(script, reportScript, 0o600)
}

// Run loads for as long as l says. A response other than 2xx or 3xx, a failed
// connection and a timeout are errors.
func (r *Runner) Run(ctx context.Context, l Load) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Duration+overtime)
	defer cancel()
	cmd := process.Local(ctx, "wrk", r.args(l)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return Result{}, fmt.Errorf("wrk: %w: %s", errors.Join(err, context.Cause(ctx)), stderr.Bytes())
	}
	return parse(out, l)
}

func (r *Runner) args(l Load) []string {
	const threads = 2
	args := []string{
		"-t", strconv.Itoa(min(threads, l.Connections)), "-c", strconv.Itoa(l.Connections),
		"-d", strconv.Itoa(int(l.Duration.Seconds())) + "s", "-s", r.script,
	}
	if l.Host != "" {
		args = append(args, "-H", "Host: "+l.Host)
	}
	if l.Close {
		args = append(args, "-H", "Connection: close")
	}
	return append(args, l.URL)
}

func parse(out []byte, l Load) (Result, error) {
	_, line, ok := bytes.Cut(out, []byte(marker))
	if !ok {
		return Result{}, fmt.Errorf("wrk: no report in %q", out)
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return Result{}, fmt.Errorf("wrk: report %q: %w", line, err)
	}
	switch {
	case r.Connect+r.Read+r.Write+r.Status+r.Timeout > 0:
		return Result{}, fmt.Errorf("wrk: %s: errors: %d connect, %d read, %d write, %d status, %d timeout (of %d requests)",
			l.URL, r.Connect, r.Read, r.Write, r.Status, r.Timeout, r.Requests)
	case r.Requests == 0 || r.Micros == 0:
		return Result{}, fmt.Errorf("wrk: %s: no answer", l.URL)
	case r.Bytes/r.Requests < int64(l.MinBytes):
		return Result{}, fmt.Errorf("wrk: %s: responses of %d bytes, want %d and more", l.URL, r.Bytes/r.Requests, l.MinBytes)
	}
	return Result{
		Rate: float64(r.Requests) / (float64(r.Micros) / 1e6),
		P50:  time.Duration(r.P50) * time.Microsecond,
		P99:  time.Duration(r.P99) * time.Microsecond,
	}, nil
}
