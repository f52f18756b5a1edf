package httpproxy

import "time"

// use is a private connection as the proxy connection that is bound to it sees it.
type use struct {
	pool    *pool
	private *private
}

// IdleSince implements pool.Use.
func (u use) IdleSince() time.Time {
	u.pool.mu.Lock()
	defer u.pool.mu.Unlock()
	for _, p := range u.pool.idle[u.private.key] {
		if p == u.private {
			return p.idleSince
		}
	}
	return time.Time{}
}

// EndIdle implements pool.Use.
func (u use) EndIdle() { u.pool.expire(u.private) }

// retiring says that the proxy connection is to serve no more requests.
func (p *private) retiring() bool { return p.conn != nil && p.conn.Retiring() }
