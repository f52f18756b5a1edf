package frontdoor

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialback/dialback/services/frontdoor/internal/pool"
)

func poolDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("dialback_frontdoor_"+name, help, labels, nil)
}

var (
	pendingDesc  = poolDesc("pending_tickets", "Dial-backs that were asked for and have not come.")
	connsDesc    = poolDesc("proxy_connections", "Proxy connections of agents: idle ones wait for a visitor, busy ones serve or are bound to a service.", "state")
	hitsDesc     = poolDesc("pool_hits_total", "Visitors' requests that found a connection: bound to the service, or warm.", "kind")
	asksDesc     = poolDesc("pool_dialbacks_total", "Dial-backs that were asked for: for a visitor, ahead of need, or for the floor.", "why")
	recycledDesc = poolDesc("pool_recycled_total", "Connections that came back from a visitor and serve the next.")
	endedDesc    = poolDesc("pool_ended_total", "Connections that have ended.", "why")
)

// poolCollector says what the pool has counted.
type poolCollector struct {
	pool  *pool.Pool
	bound *atomic.Uint64
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{pendingDesc, connsDesc, hitsDesc, asksDesc, recycledDesc, endedDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(out chan<- prometheus.Metric) {
	say := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	s := c.pool.Stats()
	say(pendingDesc, prometheus.GaugeValue, float64(s.Fetching))
	say(connsDesc, prometheus.GaugeValue, float64(s.Idle), "idle")
	say(connsDesc, prometheus.GaugeValue, float64(s.Live-s.Idle), "busy")
	say(hitsDesc, prometheus.CounterValue, float64(c.bound.Load()), "bound")
	say(hitsDesc, prometheus.CounterValue, float64(s.Warm), "warm")
	say(recycledDesc, prometheus.CounterValue, float64(s.Recycled))
	for why, n := range s.Asked {
		say(asksDesc, prometheus.CounterValue, float64(n), why.String())
	}
	for why, n := range s.Ended {
		say(endedDesc, prometheus.CounterValue, float64(n), why.String())
	}
}
