package frontdoor

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// durations are the bounds of the histogram of requests, in seconds.
var durations = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// newMetrics registers this frontdoor's metrics and returns what is to be told
// of each request.
func newMetrics(to prometheus.Registerer, counts func() (tickets, conns int), progress func() (route.Position, time.Duration),
) func(status int, reason errs.Reason, took time.Duration) {
	if to == nil {
		to = prometheus.NewRegistry() // which nobody asks
	}
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "dialback_frontdoor_request_duration_seconds",
		Help:    "Visitors' requests, by the class of their status and the reason of answers of our own.",
		Buckets: durations,
	}, []string{"status", "reason"})
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dialback_frontdoor_" + name, Help: help}, value)
	}
	to.MustRegister(
		requests,
		gauge("pending_tickets", "Dial-backs that were asked for and have not come.", func() float64 {
			tickets, _ := counts()
			return float64(tickets)
		}),
		gauge("proxy_connections", "Proxy connections of agents.", func() float64 {
			_, conns := counts()
			return float64(conns)
		}),
		gauge("routes_age_seconds", "Time since the registry was last heard: how stale the routes may be.", func() float64 {
			_, age := progress()
			return age.Seconds()
		}),
	)
	return func(status int, reason errs.Reason, took time.Duration) {
		requests.WithLabelValues(statusClass(status), string(reason)).Observe(took.Seconds())
	}
}

// statusClass is "2xx" for 204, and "none" where the visitor was gone before an
// answer.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}
