package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

// One request is one trace, through all parts and on to the local service; the
// next one on the kept-alive connection has no dial-back and points to it.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	collector := harness.StartCollector(t)
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + collector.Addr(), "OTEL_BSP_SCHEDULE_DELAY=100"}
	server := harness.StartServer(t, env)

	var mu sync.Mutex
	var got []string
	local := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("traceparent"))
	})
	// The agent has no collector: its spans come up the control connection.
	host := strings.TrimPrefix(server.Agent(local).URL(), "http://")

	harness.Curl(t, "-H", "Host: "+host, "http://"+server.HTTP+"/first", "-H", "traceparent: 00-"+strings.Repeat("ab", 16)+"-"+strings.Repeat("cd", 8)+"-01")
	harness.Curl(t, "-H", "Host: "+host, "http://"+server.HTTP+"/second")
	mu.Lock()
	seen := append([]string(nil), got...)
	mu.Unlock()
	if len(seen) != 2 {
		t.Fatalf("the service got %d requests", len(seen))
	}

	first := collector.Trace(t, strings.Repeat("ab", 16), "GET", "private.request", "private.connect", "dialback.dial")
	front := first.Find(t, "GET", "dialback-frontdoor", "server")
	lookup := first.Find(t, "route.lookup", "dialback-frontdoor", "")
	ask := first.Find(t, "RequestProxy", "dialback-frontdoor", "client")
	asked := first.Find(t, "RequestProxy", "dialback-connector", "server")
	dial := first.Find(t, "dialback.dial", "dialback-agent", "")
	connect := first.Find(t, "private.connect", "dialback-agent", "")
	request := first.Find(t, "private.request", "dialback-agent", "")
	for _, c := range []struct {
		child, parent *harness.Span
	}{{lookup, front}, {ask, front}, {asked, ask}, {dial, asked}, {connect, front}, {request, front}} {
		if !first.Below(c.child, c.parent) {
			t.Errorf("%s is not below %s\n%s", c.child.Name, c.parent.Name, first)
		}
	}
	if want := "00-" + strings.Repeat("ab", 16) + "-" + request.ID + "-01"; seen[0] != want {
		t.Errorf("the service got traceparent %q, want %q", seen[0], want)
	}

	traceID := strings.Split(seen[1], "-")[1]
	second := collector.Trace(t, traceID, "GET", "private.request")
	if second.Has("dialback.dial") {
		t.Errorf("the second request was dialled for\n%s", second)
	}
	for _, span := range []*harness.Span{second.Find(t, "GET", "dialback-frontdoor", "server"), second.Find(t, "private.request", "dialback-agent", "")} {
		if !span.LinksTo(first.ID) {
			t.Errorf("%s has no link to the trace of the dial-back\n%s", span.Name, second)
		}
	}
}
