package frontdoor

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialback/dialback/services/frontdoor/internal/tcpport"
)

// newTCPMetrics registers the metrics of TCP endpoints and returns what is to be
// told of each connection that is over.
func newTCPMetrics(to prometheus.Registerer) func(tcpport.Visit) {
	setups := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "dialback_frontdoor_tcp_setup_seconds",
		Help:    "What it took to bring visitors of TCP endpoints to the service, by whether that was reached. Observed when the connection is over.",
		Buckets: durations,
	}, []string{"served"})
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dialback_frontdoor_tcp_connections_total",
		Help: "Connections to TCP endpoints that are over, by why: OK for an end in order.",
	}, []string{"reason"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dialback_frontdoor_tcp_bytes_total",
		Help: "Bytes from (in) and to (out) visitors of TCP endpoints, of connections that are over.",
	}, []string{"direction"})
	to.MustRegister(setups, ended, bytes)
	return func(v tcpport.Visit) {
		served := "no"
		if v.Served {
			served = "yes"
		}
		setups.WithLabelValues(served).Observe(v.Setup.Seconds())
		ended.WithLabelValues(cmp.Or(v.Reason, "OK")).Inc()
		bytes.WithLabelValues("in").Add(float64(v.In))
		bytes.WithLabelValues("out").Add(float64(v.Out))
	}
}
