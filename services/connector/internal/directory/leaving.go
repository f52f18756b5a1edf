package directory

import (
	"slices"
	"sync"
)

// maxLeaving bounds what nobody has taken.
const maxLeaving = 1024

// leaving are the frontdoors that are about to stop, until they are taken.
type leaving struct {
	mu      sync.Mutex
	ids     []string
	changed chan struct{} // of one
}

func (l *leaving) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ids) == maxLeaving || slices.Contains(l.ids, id) {
		return
	}
	l.ids = append(l.ids, id)
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// FrontdoorsLeaving is sent to when TakeLeaving has something.
func (c *Client) FrontdoorsLeaving() <-chan struct{} { return c.leaving.changed }

// TakeLeaving returns the ids of frontdoors that have begun to stop since it was
// called last.
func (c *Client) TakeLeaving() []string {
	c.leaving.mu.Lock()
	defer c.leaving.mu.Unlock()
	ids := c.leaving.ids
	c.leaving.ids = nil
	return ids
}
