//go:build linux

package netsim

import (
	"math/rand/v2"
	"time"
)

// line decides when, and whether, a packet arrives in one direction.
type line struct {
	delay  time.Duration
	jitter time.Duration
	loss   float64
	rate   int64
	random *rand.Rand

	sent    time.Duration // when the last packet has left the sender
	arrived time.Duration // when the last packet arrives: none overtakes it
}

func newLine(cfg Config, direction uint64) *line {
	return &line{
		delay:  cfg.RTT / 2,
		jitter: cfg.Jitter,
		loss:   cfg.Loss,
		rate:   cfg.Rate,
		random: rand.New(rand.NewPCG(1, direction)), //nolint:gosec // the same losses in each run, on purpose
	}
}

// due returns when a packet of size bytes arrives that was handed over at now;
// false: it is lost.
func (l *line) due(now time.Duration, size int) (time.Duration, bool) {
	if l.loss > 0 && l.random.Float64() < l.loss {
		return 0, false
	}
	l.sent = max(l.sent, now)
	if l.rate > 0 {
		l.sent += time.Duration(int64(size) * 8 * int64(time.Second) / l.rate)
	}
	due := l.sent + l.delay
	if l.jitter > 0 {
		due += time.Duration(l.random.Int64N(int64(l.jitter)))
	}
	l.arrived = max(l.arrived, due)
	return l.arrived, true
}
