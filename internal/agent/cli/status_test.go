package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/forward"
)

func TestWhatAPersonSees(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out, now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }}
	up := forward.Upstream{Address: "localhost:8080"}
	for _, e := range []agent.Event{
		agent.Connecting{Server: "localhost:7443"},
		agent.Connected{Connector: "c1", Banner: "Hello\x1b[2J\nthere"},
		agent.TunnelOnline{URLs: []string{"http://app.localhost:7080"}, ForwardsTo: "localhost:8080"},
		agent.Upstream{Report: forward.Report{Upstream: up, Code: proxyv1.Code_CODE_UPSTREAM_REFUSED, Cause: "connection refused", Repeated: 3}},
		agent.Upstream{Report: forward.Report{Upstream: up, Code: proxyv1.Code_CODE_OK}},
		agent.Retrying{Cause: errors.New("gone"), In: 1800 * time.Millisecond, Lost: true},
		agent.Retrying{Cause: errors.New("away"), In: 20 * time.Millisecond},
		agent.Retrying{Cause: errors.New("away"), In: 2 * time.Second}, // not again
		agent.TunnelOnline{URLs: []string{"http://app.localhost:7080"}, ForwardsTo: "localhost:8080", Again: true},
		agent.TakenOver{},
		agent.Stopping{},
	} {
		s.show(e)
	}
	want := []string{
		"Connecting to localhost:7443 ...",
		"Hello\ufffd[2J there",
		"Online: http://app.localhost:7080 -> localhost:8080",
		"Ctrl-C ends it.",
		"The local service localhost:8080 cannot be reached: connection refused (3 more times)",
		"The local service localhost:8080 answers again.",
		"Lost the connection: gone. Next try in 2s.",
		"No connection: away. Trying until there is; next in a moment.",
		"Online again: http://app.localhost:7080",
		"Another process uses this agent's identity, perhaps a copy of this machine. Going on under a new one.",
		"Stopping; visitors who are here may finish. Ctrl-C again stops at once.",
	}
	for i, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if i >= len(want) || line != "03:04:05  "+want[i] {
			t.Errorf("line %d: %q", i, line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != len(want) {
		t.Errorf("%d lines, want %d", n, len(want))
	}
}
