package pool

import (
	"math"
	"time"
)

const (
	// memory is the time constant of what is known of arrivals.
	memory = 10 * time.Second
	// headroom is how much more is kept than arrives in a dial-back's time:
	// visitors do not come evenly.
	headroom  = 1.5
	maxTarget = 256
	// dialShare is the weight of the newest dial-back among all.
	dialShare = 0.2
)

// demand is how fast an agent's connections are used up: visitors who need one,
// less those that come back. A service that refuses a thousand requests a second
// on one connection needs no second one.
type demand struct {
	n    float64 // decaying
	at   time.Time
	dial float64 // seconds that a dial-back takes; 0: not known
}

func (d *demand) add(now time.Time, n float64) {
	d.n = max(0, d.decayed(now)+n)
	d.at = now
}

func (d *demand) decayed(now time.Time) float64 {
	if d.n == 0 {
		return 0
	}
	return d.n * math.Exp(-now.Sub(d.at).Seconds()/memory.Seconds())
}

// dialled enters what a dial-back took.
func (d *demand) dialled(took time.Duration) {
	if d.dial == 0 {
		d.dial = took.Seconds()
		return
	}
	d.dial += dialShare * (took.Seconds() - d.dial)
}

// target is how many connections should wait for visitors: as many as are used
// up while one is dialled.
func (d *demand) target(now time.Time) int {
	rate := d.decayed(now) / memory.Seconds()
	return min(maxTarget, int(headroom*rate*d.dial+0.5))
}

// Bucket paces: it gives so many tokens a second, and holds a tenth of a second's.
type Bucket struct {
	rate   float64
	tokens float64
	at     time.Time
}

// NewBucket returns a full one.
func NewBucket(rate float64) *Bucket { return &Bucket{rate: rate, tokens: max(1, rate/10)} }

// Take takes a token, or says how long it is until there is one.
func (b *Bucket) Take(now time.Time) (wait time.Duration) {
	if !b.at.IsZero() {
		b.tokens = min(max(1, b.rate/10), b.tokens+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return time.Nanosecond + time.Duration((1-b.tokens)/b.rate*float64(time.Second)) // not before it
}
