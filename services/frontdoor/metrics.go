package frontdoor

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// durations are the bounds of the histogram of requests, in seconds.
var durations = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// metrics are what this frontdoor counts.
type metrics struct {
	requests *prometheus.HistogramVec
	// forwarded are those of services' answers, by the first digit of the status:
	// most requests are counted there, and to look them up takes longer than to count.
	forwarded [6]atomic.Pointer[prometheus.Observer]
	waits     prometheus.Histogram
	reused    atomic.Uint64
}

// newMetrics registers this frontdoor's metrics.
func newMetrics(to prometheus.Registerer, connections *pool.Pool, progress func() (route.Position, time.Duration)) *metrics {
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dialback_frontdoor_request_duration_seconds",
			Help:    "Visitors' requests, by the class of their status and the reason of answers of our own.",
			Buckets: durations,
		}, []string{"status", "reason"}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "dialback_frontdoor_pool_wait_seconds",
			Help:    "How long visitors who found no connection have waited for one.",
			Buckets: durations,
		}),
	}
	to.MustRegister(m.requests, m.waits, &poolCollector{pool: connections, bound: &m.reused},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dialback_frontdoor_routes_age_seconds",
			Help: "Time since the registry was last heard: how stale the routes may be.",
		}, func() float64 {
			_, age := progress()
			return age.Seconds()
		}))
	return m
}

// request is told of each request that is over.
func (m *metrics) request(status int, reason errs.Reason, took time.Duration) {
	digit := status / 100
	if reason != "" || digit < 1 || digit >= len(m.forwarded) {
		m.requests.WithLabelValues(statusClass(status), string(reason)).Observe(took.Seconds())
		return
	}
	known := m.forwarded[digit].Load()
	if known == nil {
		o := m.requests.WithLabelValues(statusClass(status), "")
		known = &o
		m.forwarded[digit].Store(known)
	}
	(*known).Observe(took.Seconds())
}

// waited is told of each visitor who had to wait for a dial-back.
func (m *metrics) waited(d time.Duration) { m.waits.Observe(d.Seconds()) }

// bound is told of each request that found a private connection.
func (m *metrics) bound() { m.reused.Add(1) }

// newRestMetrics registers the metrics of REST and returns what is to be told of
// each request.
func newRestMetrics(to prometheus.Registerer) func(method, pattern string, status int, took time.Duration) {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "dialback_frontdoor_rest_duration_seconds",
		Help:    "REST requests, by the pattern of their path, and the class of their status. Streams count when they end.",
		Buckets: durations,
	}, []string{"method", "path", "status"})
	to.MustRegister(requests)
	return func(method, pattern string, status int, took time.Duration) {
		requests.WithLabelValues(method, pattern, statusClass(status)).Observe(took.Seconds())
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
