package gateway

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// forgetAfter is how long an address without requests is remembered, twice at
	// most.
	forgetAfter = time.Minute
	// maxAddresses bounds what strangers can make us remember.
	maxAddresses = 1 << 16
)

// limiter bounds the requests of each address: an IPv4 address, or an IPv6
// network of 64 bits, which one client has whole.
type limiter struct {
	perSecond int

	mu            sync.Mutex
	turned        time.Time
	recent, older map[string]*rate.Limiter
}

func newLimiter(perSecond int) *limiter {
	return &limiter{perSecond: perSecond, recent: map[string]*rate.Limiter{}, turned: time.Now()}
}

// allow reports whether a request may come now, else when the next one may.
func (l *limiter) allow(address string) (wait time.Duration, ok bool) {
	r := l.of(network(address)).Reserve()
	if wait = r.Delay(); wait == 0 {
		return 0, true
	}
	r.Cancel()
	return wait, false
}

func (l *limiter) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.turned) > forgetAfter || len(l.recent) >= maxAddresses {
		l.older, l.recent, l.turned = l.recent, map[string]*rate.Limiter{}, now
	}
	one := l.recent[key]
	if one == nil {
		if one = l.older[key]; one == nil {
			one = rate.NewLimiter(rate.Limit(l.perSecond), 2*l.perSecond)
		}
		l.recent[key] = one
	}
	return one
}

func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() {
		return address
	}
	prefix, _ := ip.Prefix(64) // a constant that fits
	return prefix.String()
}
