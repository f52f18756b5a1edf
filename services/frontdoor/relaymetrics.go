package frontdoor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialback/dialback/services/frontdoor/internal/relay"
)

// newRefusedMetric counts connections that were not handed over, or not taken
// over from another frontdoor.
func newRefusedMetric(to prometheus.Registerer) func(why string) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dialback_frontdoor_relays_refused_total",
		Help: "Connections that were not relayed, by why: unknown_name, limit, unreachable; foreign_source, no_header, no_hello, foreign_name at the relay port.",
	}, []string{"why"})
	to.MustRegister(refused)
	return func(why string) { refused.WithLabelValues(why).Inc() }
}

func newRelayMetrics(to prometheus.Registerer, relays *relay.Relays) {
	to.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dialback_frontdoor_relays",
			Help: "Agents' connections that are being relayed to other nodes; each is two files.",
		}, func() float64 { return float64(relays.Open()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "dialback_frontdoor_relay_bytes_total",
			Help: "Bytes relayed to and from other nodes.",
		}, func() float64 { return float64(relays.Bytes()) }),
	)
}
