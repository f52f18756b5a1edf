package httpproxy

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// maxAborts within abortWindow make a visitor a nuisance: each costs more on
	// our side than on its own.
	maxAborts   = 100
	abortWindow = 10 * time.Second
)

// Visitor is a public connection.
type Visitor struct {
	conn net.Conn

	mu     sync.Mutex
	tied   map[key]bool // the endpoints that know this connection, not its requests
	aborts int
	since  time.Time
}

type visitorKey struct{}

// NewVisitor enters a public connection into the context of its requests.
func NewVisitor(ctx context.Context, c net.Conn) (context.Context, *Visitor) {
	v := &Visitor{conn: c}
	return context.WithValue(ctx, visitorKey{}, v), v
}

func visitorOf(ctx context.Context) *Visitor {
	if v, ok := ctx.Value(visitorKey{}).(*Visitor); ok {
		return v
	}
	return &Visitor{}
}

// tie makes private connections for k this visitor's alone.
func (v *Visitor) tie(k key) key {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tied == nil {
		v.tied = map[key]bool{}
	}
	k.visitor = nil
	v.tied[k] = true
	k.visitor = v
	return k
}

// keyFor returns the key of the private connections that the visitor may use.
func (v *Visitor) keyFor(k key) key {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tied[k] {
		k.visitor = v
	}
	return k
}

// ties are the keys of the private connections that are this visitor's alone.
func (v *Visitor) ties() []key {
	v.mu.Lock()
	defer v.mu.Unlock()
	keys := make([]key, 0, len(v.tied))
	for k := range v.tied {
		k.visitor = v
		keys = append(keys, k)
	}
	return keys
}

// aborted counts a request that the visitor gave up, and closes the connection
// of one who does nothing else.
func (v *Visitor) aborted(now time.Time) {
	v.mu.Lock()
	if now.Sub(v.since) > abortWindow {
		v.since, v.aborts = now, 0
	}
	v.aborts++
	enough := v.aborts > maxAborts && v.conn != nil
	v.mu.Unlock()
	if enough {
		_ = v.conn.Close()
	}
}
