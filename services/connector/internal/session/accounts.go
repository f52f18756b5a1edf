package session

// Suspend ends the sessions of an account, and those that are about to begin,
// until it is resumed. It returns how many; their agents are told ErrSuspended.
func (t *Table) Suspend(account string) int {
	t.mu.Lock()
	t.suspended.add(account)
	var sessions []*Session
	for _, s := range t.sessions {
		if s.Account == account {
			sessions = append(sessions, s)
		}
	}
	t.mu.Unlock()
	for _, s := range sessions {
		t.End(s, Revoked, ErrSuspended)
	}
	return len(sessions)
}

// Resume takes sessions of an account again.
func (t *Table) Resume(account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.suspended.drop(account)
}

// ResumeAll takes sessions of all accounts again: news of some may have been
// missed, and each session is judged anew.
func (t *Table) ResumeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.suspended = recent[string]{limit: maxRevoked}
}
