package identity

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Throttle slows down the addresses whose credentials are refused: a token
// bucket each, from which only a failure takes. It holds a bounded number of
// addresses and forgets the one that failed longest ago.
type Throttle struct {
	burst    float64 // failures at once
	rate     float64 // failures a second
	capacity int
	now      func() time.Time

	mu      sync.Mutex
	order   *list.List // of *bucket; most recent failure first
	buckets map[string]*list.Element
}

type bucket struct {
	key   string
	level float64 // below 0: in debt
	at    time.Time
}

// NewThrottle allows burst failures at once and then one every interval, for
// each of at most capacity addresses.
func NewThrottle(burst int, interval time.Duration, capacity int, now func() time.Time) *Throttle {
	return &Throttle{
		burst: float64(burst), rate: 1 / interval.Seconds(), capacity: capacity, now: now,
		order: list.New(), buckets: make(map[string]*list.Element),
	}
}

// Wait returns how long an address has to wait before it may try; 0: now.
func (t *Throttle) Wait(address string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.buckets[throttleKey(address)]
	if !ok {
		return 0
	}
	level := t.levelOf(bucketOf(e))
	if level >= 1 {
		return 0
	}
	return time.Duration((1 - level) / t.rate * float64(time.Second))
}

// Fail counts a failure. Attempts that ran side by side were all let in, so the
// level may fall below zero, but not far: a debt ends.
func (t *Throttle) Fail(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := throttleKey(address)
	e, ok := t.buckets[key]
	if !ok {
		e = t.add(key)
	}
	b := bucketOf(e)
	b.level = max(t.levelOf(b)-1, -t.burst)
	b.at = t.now()
	t.order.MoveToFront(e)
}

func (t *Throttle) add(key string) *list.Element {
	if t.order.Len() >= t.capacity {
		oldest := t.order.Back()
		delete(t.buckets, bucketOf(oldest).key)
		t.order.Remove(oldest)
	}
	e := t.order.PushFront(&bucket{key: key, level: t.burst, at: t.now()})
	t.buckets[key] = e
	return e
}

func (t *Throttle) levelOf(b *bucket) float64 {
	return min(t.burst, b.level+t.now().Sub(b.at).Seconds()*t.rate)
}

func bucketOf(e *list.Element) *bucket {
	return e.Value.(*bucket) //nolint:forcetypeassert // the list holds nothing else
}

// throttleKey drops the port, and of an IPv6 address the half that its owner
// chooses freely. Other texts, as in-memory connections have them, stand for
// themselves.
func throttleKey(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return address
		}
		addr = ap.Addr()
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}
