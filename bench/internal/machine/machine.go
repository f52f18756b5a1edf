// Package machine describes in words what a measurement ran on, without its name.
package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dialback/dialback/bench/internal/nginx"
)

const unknown = "?"

var (
	cpuModel    = regexp.MustCompile(`(?m)^model name\s*: (.+)$`)
	memTotal    = regexp.MustCompile(`(?m)^MemTotal:\s*(\d+) kB$`)
	kernel      = regexp.MustCompile(`^(\d+\.\d+)`)
	loadAverage = regexp.MustCompile(`^(\S+) `) // of the last minute: what others did
	nginxText   = regexp.MustCompile(`nginx/(\S+)`)
	wrkText     = regexp.MustCompile(`wrk (?:debian/)?(\d+(?:\.\d+)*)`)
	dialback    = regexp.MustCompile(`dialback (\S+)`)
)

// Describe returns one sentence; agent is the path of the program whose version is
// Dialback's.
func Describe(ctx context.Context, agent string) string {
	kib, _ := strconv.Atoi(inFile("/proc/meminfo", memTotal))
	return fmt.Sprintf("Dialback %s; %d cores (%s), %d GiB, Linux %s, %s, nginx %s, wrk %s; one machine for all parts, load average %s before; %s.",
		printed(ctx, dialback, agent, "version"), runtime.NumCPU(), inFile("/proc/cpuinfo", cpuModel), (kib+1<<19)>>20,
		inFile("/proc/sys/kernel/osrelease", kernel), strings.Replace(runtime.Version(), "go", "Go ", 1),
		printed(ctx, nginxText, nginx.Path(), "-v"), printed(ctx, wrkText, "wrk", "-v"), inFile("/proc/loadavg", loadAverage),
		time.Now().UTC().Format(time.DateOnly))
}

func inFile(path string, pattern *regexp.Regexp) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	return first(pattern, content)
}

// printed finds the pattern in what a program prints. Its exit code does not
// matter: wrk -v fails.
func printed(ctx context.Context, pattern *regexp.Regexp, program string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, program, args...).CombinedOutput() //nolint:gosec // the programs are this package's
	return first(pattern, out)
}

func first(pattern *regexp.Regexp, text []byte) string {
	if m := pattern.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return unknown
}
