package e2e

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/test/e2e/harness"
)

// state is what must not grow: goroutines, open files, tickets that wait.
type state struct{ goroutines, files, tickets int }

func (s state) max(o state) state {
	return state{max(s.goroutines, o.goroutines), max(s.files, o.files), max(s.tickets, o.tickets)}
}

func (s state) min(o state) state {
	return state{min(s.goroutines, o.goroutines), min(s.files, o.files), min(s.tickets, o.tickets)}
}

func stateOf(t *testing.T, server *harness.Server, debug string) state {
	t.Helper()
	metrics := harness.Curl(t, "http://"+debug+"/metrics")
	value := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + name + ` (\d+)`).FindStringSubmatch(metrics)
		if m == nil {
			t.Fatalf("no metric %s in:\n%s", name, metrics)
		}
		return atoi(t, m[1])
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return state{goroutines: value("go_goroutines"), files: len(files), tickets: value("dialback_frontdoor_pending_tickets")}
}

// stacksOf counts the goroutines by their stack.
func stacksOf(t *testing.T, debug string) map[string]int {
	t.Helper()
	stacks := map[string]int{}
	for block := range strings.SplitSeq(harness.Curl(t, "http://"+debug+"/debug/pprof/goroutine?debug=1"), "\n\n") {
		if m := regexp.MustCompile(`(?m)^(\d+) @.*\n((?:#.*\n?)+)`).FindStringSubmatch(block); m != nil {
			stacks[regexp.MustCompile(`0x[0-9a-f]+`).ReplaceAllString(m[2], "")] += atoi(t, m[1])
		}
	}
	return stacks
}

// more lists the stacks that there are more of than before.
func more(now, before map[string]int) string {
	var b strings.Builder
	for stack, n := range now {
		if n > before[stack] {
			fmt.Fprintf(&b, "%d, was %d:\n%s\n", n, before[stack], stack)
		}
	}
	return b.String()
}

func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	debug := harness.FreeAddr(t)
	server := harness.StartServer(t, nil, "--debug", debug, "--idle-timeout", "1s")
	nginx := harness.StartNginx(t)
	nginx.WriteRandom(t, "1k", kib, 1)
	url := server.Agent(nginx.Addr).URL()
	host := strings.TrimPrefix(url, "http://")

	load := func(requests, clients int) {
		t.Helper()
		code, out := harness.Run(t, nil, "h2load", "--h1", "-n", fmt.Sprint(requests), "-c", fmt.Sprint(clients),
			"--connect-to", server.HTTP, "http://"+host+"/1k")
		if code != 0 || !strings.Contains(out, fmt.Sprintf("%d succeeded, 0 failed, 0 errored", requests)) {
			t.Fatalf("h2load: exit %d\n%s", code, out)
		}
	}
	highest := func() (high state) {
		t.Helper()
		for range 15 {
			high = high.max(stateOf(t, server, debug))
			pause(t, 200*time.Millisecond)
		}
		return high
	}
	load(100, 10)
	// An idle server's goroutines come and go a little. Settled is when the highest
	// count of three seconds does not fall any more.
	before := highest()
	for next := highest().min(before); next != before; next = highest().min(before) {
		before = next
	}
	stacks := stacksOf(t, debug)
	load(10_000, 50)
	// Visitors that leave in the middle of a request.
	for range 100 {
		c, err := net.Dial("tcp", server.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /1k HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		_ = c.Close()
	}
	var now state
	for range harness.Attempts(t, func() string {
		return fmt.Sprintf("left behind: %+v, was %+v\n%s", now, before, more(stacksOf(t, debug), stacks))
	}) {
		now = stateOf(t, server, debug)
		if now.goroutines <= before.goroutines && now.files <= before.files && now.tickets <= before.tickets {
			break
		}
	}
	t.Logf("after the warm-up %+v, after 10,000 requests %+v", before, now)
}
