package dialer

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxMemory caps the frontdoors whose good address is remembered.
	maxMemory = 1024
	// rememberedFor is how long one that is not the preferred one goes first: what
	// is in the way of the preferred one may go away, and the others cost a hop.
	rememberedFor = 10 * time.Minute
)

// memory knows which address of a frontdoor was good the last time, where that is
// not the one that it prefers.
type memory struct {
	mu   sync.Mutex
	good map[string]remembered
}

type remembered struct {
	address string
	until   time.Time
}

// order puts the good address first.
func (m *memory) order(serverName string, addresses []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	good, known := m.good[serverName]
	i := slices.Index(addresses, good.address)
	if !known || i <= 0 || time.Now().After(good.until) {
		return addresses
	}
	ordered := append([]string{good.address}, addresses[:i]...)
	return append(ordered, addresses[i+1:]...)
}

// remember notes the address that was good. That it was good again does not make
// it remembered longer.
func (m *memory) remember(serverName, address, preferred string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if address == preferred {
		delete(m.good, serverName)
		return
	}
	if old := m.good[serverName]; old.address == address && time.Now().Before(old.until) {
		return
	}
	if m.good == nil || len(m.good) >= maxMemory {
		m.good = map[string]remembered{}
	}
	m.good[serverName] = remembered{address, time.Now().Add(rememberedFor)}
}
