package directory

import (
	"maps"
	"sync"
)

// maxLeaving bounds what the registry can make us hold.
const maxLeaving = 4096

// leaving are the frontdoors that are about to stop.
type leaving struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (l *leaving) set(id string, present bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !present {
		delete(l.ids, id)
	} else if len(l.ids) < maxLeaving {
		l.ids[id] = true
	}
}

// begin forgets all: a snapshot names those that there are.
func (l *leaving) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.ids)
}

// FrontdoorsLeaving returns the ids of the frontdoors that are about to stop.
func (c *Client) FrontdoorsLeaving() map[string]bool {
	c.leaving.mu.Lock()
	defer c.leaving.mu.Unlock()
	return maps.Clone(c.leaving.ids)
}
