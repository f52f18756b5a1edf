package session

import (
	"slices"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/errs"
)

// The refusals of this domain.
var (
	ErrFull = errs.New(errs.ResourceExhausted, errs.ReasonOverloaded,
		"this connector holds as many sessions as it may; retry")
	ErrDraining = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this connector is stopping; retry to reach another")
	ErrRevoked = errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked,
		"the authtoken was revoked; ask for a new one")
	ErrSuspended = errs.New(errs.Unauthenticated, errs.ReasonAccountDisabled,
		"the account was suspended; ask the server's administrator")
	ErrTakenOver = errs.New(errs.FailedPrecondition, errs.ReasonTakenOver,
		"another process with this agent's id has taken over; ask for a new agent id")
	ErrUnresponsive = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"the session did not read or did not answer pings; connect again")
	ErrReplaced = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"the same agent process has opened newer sessions to this connector")
	ErrTunnelLimit = errs.New(errs.ResourceExhausted, errs.ReasonTunnelLimit,
		"the session has as many tunnels as it may; close one or use another agent")
	// ErrClosed says that an operator has ended it: whoever is to stay away needs
	// its authtoken revoked.
	ErrClosed = errs.New(errs.Unavailable, errs.ReasonUnavailable, "an operator has closed this session; connect again").WithRetry(time.Second)
	ErrEnded  = errs.New(errs.Unavailable, errs.ReasonUnavailable, "the session has ended")
)

const (
	// maxAttachments is how many sessions one process of an agent has at most on
	// one connector. It reconnects before we know that the old one is dead, so
	// the oldest gives way.
	maxAttachments = 4
	// maxRevoked bounds the memory of revoked tokens and suspended accounts: it only
	// has to bridge the time between a validation and the session's entry into the
	// table.
	maxRevoked = 65536
)

// Table holds a connector's sessions.
type Table struct {
	feed Feed
	// left is told of each end, in the goroutine that caused it; must not wait.
	left func(*Session, Reason)
	max  int

	mu        sync.RWMutex
	draining  bool
	sessions  map[string]*Session
	processes map[process][]*Session // oldest first
	tokens    map[string]map[*Session]struct{}
	hosts     map[string][]place
	revoked   recent[string]
	suspended recent[string] // accounts
	lineage   lineage
	empty     chan struct{} // closed when draining and no session is left
}

// NewTable returns a table for at most limit sessions. left hears of each
// session's end, after the watchers.
func NewTable(limit int, left func(*Session, Reason)) *Table {
	return &Table{
		max: limit, left: left,
		sessions:  make(map[string]*Session),
		processes: make(map[process][]*Session),
		tokens:    make(map[string]map[*Session]struct{}),
		hosts:     make(map[string][]place),
		revoked:   recent[string]{limit: maxRevoked},
		suspended: recent[string]{limit: maxRevoked},
		lineage:   newLineage(),
		empty:     make(chan struct{}),
	}
}

// Feed tells of the ends of sessions and tunnels.
func (t *Table) Feed() *Feed { return &t.feed }

// Admit reports whether a session could be added now: asked before anything is
// spent on an agent.
func (t *Table) Admit() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.admit()
}

func (t *Table) admit() error {
	switch {
	case t.draining:
		return ErrDraining
	case len(t.sessions) >= t.max:
		return ErrFull
	}
	return nil
}

// Add enters a session. A token that was revoked while it was being validated
// is refused here, and so is a process that another one has superseded.
func (t *Table) Add(s *Session) error {
	oldest, err := t.add(s)
	if oldest != nil {
		t.End(oldest, Unresponsive, ErrReplaced)
	}
	return err
}

func (t *Table) add(s *Session) (oldest *Session, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.admit(); err != nil {
		return nil, err
	}
	if t.revoked.has(s.Token) {
		return nil, ErrRevoked
	}
	if t.suspended.has(s.Account) {
		return nil, ErrSuspended
	}
	p := process{s.Agent, s.Instance}
	if t.lineage.superseded.has(p) {
		return nil, ErrTakenOver
	}
	t.sessions[s.ID] = s
	if t.tokens[s.Token] == nil {
		t.tokens[s.Token] = make(map[*Session]struct{})
	}
	t.tokens[s.Token][s] = struct{}{}
	if len(t.processes[p]) >= maxAttachments {
		oldest = t.processes[p][0]
	}
	t.processes[p] = append(t.processes[p], s)
	return oldest, nil
}

// Get returns a session that has not ended, or nil.
func (t *Table) Get(id string) *Session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sessions[id]
}

// Of returns the sessions of one process of an agent.
func (t *Table) Of(agent string, instance Instance) []*Session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clone(t.processes[process{agent, instance}])
}

// All returns the sessions.
func (t *Table) All() []*Session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*Session, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s)
	}
	return all
}

// Len returns how many sessions there are.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.sessions)
}

// End ends a session, once: cause is what its agent is told, nil for a clean
// end. Frontdoors hear of it first, before the agent can: nothing of a revoked
// session may outlive it on the data path.
func (t *Table) End(s *Session, reason Reason, cause error) {
	if !s.end(reason, cause) {
		return
	}
	t.feed.publish(Ended{Agent: s.Agent, Instance: s.Instance, Session: s.ID, Reason: reason})
	s.failAsked()
	t.remove(s)
	t.left(s, reason)
	s.onEnd(reason)
	close(s.done)
}

// Revoke ends the sessions of a token, and those that are about to begin. The
// sessions are returned; their agents are told ErrRevoked.
func (t *Table) Revoke(token string) []*Session {
	t.mu.Lock()
	t.revoked.add(token)
	var sessions []*Session
	for s := range t.tokens[token] {
		sessions = append(sessions, s)
	}
	t.mu.Unlock()
	for _, s := range sessions {
		t.End(s, Revoked, ErrRevoked)
	}
	return sessions
}

// Revoked reports whether a token was revoked, or its account suspended, lately.
func (t *Table) Revoked(token, account string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.revoked.has(token) || t.suspended.has(account)
}

func (t *Table) remove(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[s.ID] != s {
		return
	}
	delete(t.sessions, s.ID)
	dropFrom(t.tokens, s.Token, s)
	for _, tunnel := range s.tunnels {
		t.unhost(s, tunnel)
	}
	p := process{s.Agent, s.Instance}
	kept := t.processes[p][:0:0]
	for _, other := range t.processes[p] {
		if other != s {
			kept = append(kept, other)
		}
	}
	if t.processes[p] = kept; len(kept) == 0 {
		delete(t.processes, p)
	}
	if t.draining && len(t.sessions) == 0 {
		close(t.empty)
	}
}

// Drain refuses new sessions from now on; the channel is closed when none is
// left.
func (t *Table) Drain() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.draining {
		t.draining = true
		if len(t.sessions) == 0 {
			close(t.empty)
		}
	}
	return t.empty
}

// dropFrom removes a session from an index, and an entry that became empty.
func dropFrom[V any](index map[string]map[*Session]V, key string, s *Session) {
	if delete(index[key], s); len(index[key]) == 0 {
		delete(index, key)
	}
}
