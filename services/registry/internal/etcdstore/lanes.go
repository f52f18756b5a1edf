package etcdstore

import "sync"

// lanes is how many shared transactions of a kind are on their way at once. While
// one is free what comes goes at once; what comes while none is shares the next.
const lanes = 2

// traffic has what comes at once share transactions.
type traffic[M waiter] struct {
	// take takes out what goes together, and returns how it is sent.
	take func(l *line[M]) (send func())

	mu      sync.Mutex
	waiting line[M]
	running int
}

func (t *traffic[M]) enter(m M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting.push(m)
	if t.running < lanes {
		t.running++
		go t.run()
	}
}

// leave is for who does not wait any more. What is on its way stays so.
func (t *traffic[M]) leave(m M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting.remove(m)
}

// run is one lane: it sends until nobody waits.
func (t *traffic[M]) run() {
	for {
		t.mu.Lock()
		if len(t.waiting.accounts) == 0 {
			t.running--
			t.mu.Unlock()
			return
		}
		send := t.take(&t.waiting)
		t.mu.Unlock()
		send()
	}
}
