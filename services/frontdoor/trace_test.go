package frontdoor_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

const (
	visitorTrace  = "0af7651916cd43dd8448eb211c80319c"
	visitorSpan   = "b7ad6b7169203331"
	visitorParent = "00-" + visitorTrace + "-" + visitorSpan + "-"
)

func tracedWorld(t *testing.T, config func(*frontdoor.Config)) (*world, *testkit.SpanSink, func()) {
	t.Helper()
	sink := testkit.Spans(t)
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "frontdoor"}, sink.Exporter())
	fatal(t, err)
	w := newWorld(t, worldOptions{telemetry: tel, config: config})
	return w, sink, func() { fatal(t, tel.Shutdown(t.Context())) }
}

func named(spans []testkit.Span, name string) (list []testkit.Span) {
	for _, s := range spans {
		if strings.HasSuffix(s.GetName(), name) {
			list = append(list, s)
		}
	}
	return list
}

// One trace from the visitor to the service; a second request on the kept
// connection is linked to the one that had it dialled.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	w, sink, flush := tracedWorld(t, nil)
	parents := make(chan http.Header, 2)
	a := w.tunnel(app, upstream(t, func(_ http.ResponseWriter, r *http.Request) { parents <- r.Header }))
	for range 2 {
		q, _ := http.NewRequest(http.MethodGet, "http://"+app+"/x", nil)
		q.Header.Set("Traceparent", visitorParent+"00")
		q.Header.Set("Tracestate", "vendor=1")
		res, err := w.client().Do(q)
		fatal(t, err)
		_ = res.Body.Close()
	}
	testkit.Eventually(t, limit, func() bool { return len(a.seenRequests()) == 2 }, "the agent sees two requests")
	_ = w.stop()
	flush()
	spans := sink.Wait(func(spans []testkit.Span) bool {
		return len(named(spans, "GET")) == 2 && len(named(spans, "route.lookup")) == 2
	})
	first, second := named(spans, "GET")[0], named(spans, "GET")[1]
	if first.Attribute("proxy.reused") != "false" {
		first, second = second, first
	}
	for _, s := range []testkit.Span{first, second} {
		if s.TraceID() != visitorTrace || s.ParentID() != visitorSpan {
			t.Errorf("the request's span is in %s below %s", s.TraceID(), s.ParentID())
		}
		if s.Attribute("http.response.status_code") != "200" || s.Attribute("http.route") != app {
			t.Errorf("attributes: %v", s.GetAttributes())
		}
	}
	if second.Attribute("proxy.reused") != "true" || len(second.GetLinks()) != 1 || !bytes.Equal(second.GetLinks()[0].GetSpanId(), first.GetSpanId()) {
		t.Errorf("the second request: reused %s, links %v", second.Attribute("proxy.reused"), second.GetLinks())
	}
	for _, s := range named(spans, "route.lookup") {
		if s.ParentID() != first.SpanID() && s.ParentID() != second.SpanID() {
			t.Errorf("route.lookup is below %s", s.ParentID())
		}
		if s.Attribute("dialback.route.connector") != "c1" || s.Attribute("dialback.route.source") == "" || s.Attribute("dialback.route.revision") == "" {
			t.Errorf("route.lookup: %v", s.GetAttributes())
		}
	}
	traceID, _ := trace.TraceIDFromHex(visitorTrace)
	mac := telemetry.TraceMAC(macKey, a.id, traceID)
	owner := map[int]testkit.Span{0: first, 1: second}
	for i, q := range a.seenRequests() {
		header := <-parents
		if want := fmt.Sprintf("00-%s-%x-01", visitorTrace, q.GetSpanId()); header.Get("Traceparent") != want {
			t.Errorf("the service got %s, want %s", header.Get("Traceparent"), want)
		}
		if header.Get("Tracestate") != "vendor=1" {
			t.Errorf("tracestate %q", header.Get("Tracestate"))
		}
		if want := owner[i].SpanID(); !strings.Contains(q.GetTrace().GetTraceparent(), want) {
			t.Errorf("request %d: the agent's parent is %s, want %s", i, q.GetTrace().GetTraceparent(), want)
		}
		if !bytes.Equal(q.GetTrace().GetMac(), mac) {
			t.Errorf("MAC %s", hex.EncodeToString(q.GetTrace().GetMac()))
		}
	}
	if start := a.starts[0]; !bytes.Equal(start.GetTrace().GetMac(), mac) || start.GetUrl() != "http://"+app || start.GetClientAddress() == "" {
		t.Errorf("START: %v", start)
	}
}

// Whether a trace is recorded is not for any visitor to say.
func TestTheSampledFlagCountsOnlyFromTrustedNetworks(t *testing.T) {
	for _, c := range []struct {
		sampler, flag string
		trusted       bool
		want          string
	}{
		{"parentbased_always_off", "01", false, "00"},
		{"parentbased_always_off", "01", true, "01"},
		{"parentbased_always_on", "00", false, "01"},
		{"parentbased_always_on", "00", true, "00"},
	} {
		t.Run(fmt.Sprintf("%s %s trusted=%v", c.sampler, c.flag, c.trusted), func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", c.sampler)
			w, _, flush := tracedWorld(t, func(f *frontdoor.Config) {
				if c.trusted {
					f.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			})
			w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(rw, r.Header.Get("Traceparent"))
			}))
			q, _ := http.NewRequest(http.MethodGet, "http://"+app+"/", nil)
			q.Header.Set("Traceparent", visitorParent+c.flag)
			res, err := w.client().Do(q)
			fatal(t, err)
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if got := string(body); !strings.HasPrefix(got, "00-"+visitorTrace) || !strings.HasSuffix(got, "-"+c.want) {
				t.Errorf("the service got %s, want flag %s", got, c.want)
			}
			_ = w.stop()
			flush()
		})
	}
}
