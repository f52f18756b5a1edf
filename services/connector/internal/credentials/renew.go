package credentials

import (
	"context"
	"math/rand/v2"
	"time"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/grant"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	renewsAtOnce  = 16
	renewsWaiting = 2048
	renewTick     = 500 * time.Millisecond
	// renewRetry is when a renewal that auth did not answer is tried again.
	renewRetry = 5 * time.Second
)

// errChanged ends a session whose credential now stands for another agent.
var errChanged = errs.New(errs.Unavailable, errs.ReasonUnavailable, "the agent's identity has changed; connect again")

// holding is a session whose standing is kept fresh.
type holding struct {
	session    *session.Session
	credential Credential
	allowed    grant.Set
	counted    bool // against the account's quota of agents
	due        time.Time
	running    bool
	again      bool // what was asked while it was running may have changed since
}

// Hold keeps a session's assertion fresh until it has ended.
func (k *Keeper) Hold(s *session.Session, g Grant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := &holding{session: s, credential: g.credential, allowed: g.Allowed, counted: g.MaxAgents > 0, due: renewAt(g)}
	if !g.asked.After(k.changed) {
		h.due = time.Now() // the news may have been about this session, and came too early for it
	}
	k.held[s.ID] = h
}

// Drop forgets a session. Where agents are counted, auth is told that this one has
// left; if it is not heard, the agent counts a little longer.
func (k *Keeper) Drop(s *session.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[s.ID]
	delete(k.held, s.ID)
	if h == nil || !h.counted || k.holds(s.Agent) {
		return
	}
	k.renews.Do("leave "+s.Agent, func() { k.countOut(s) })
}

// holds reports whether an agent has a session here. It wants mu.
func (k *Keeper) holds(agent string) bool {
	for _, other := range k.held {
		if other.session.Agent == agent {
			return true
		}
	}
	return false
}

func (k *Keeper) countOut(s *session.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), validateTimeout)
	defer cancel()
	_, err := k.auth.EndAgent(ctx, &authv1.EndAgentRequest{AccountId: s.Account, AgentId: s.Agent})
	if err != nil {
		k.log.WarnContext(ctx, "auth was not told that an agent has left", "agent", s.Agent, "error", err)
	}
}

// Enforce ends the tunnels of a session that its grants do not allow (any more):
// one may have been bound while they were tightened.
func (k *Keeper) Enforce(s *session.Session) {
	k.mu.Lock()
	var allowed grant.Set // of a session that has left: everything, for nothing is left to it
	if h := k.held[s.ID]; h != nil {
		allowed = h.allowed
	}
	k.mu.Unlock()
	k.enforce(s, allowed)
}

func (k *Keeper) enforce(s *session.Session, allowed grant.Set) {
	for _, tunnel := range k.table.TunnelsOf(s) {
		granted := allowed.AllowsHost(tunnel.Hostname)
		if tunnel.Port != 0 {
			granted = allowed.AllowsPort(tunnel.Port)
		}
		if tunnel.Hostname == "" || granted || !k.table.CloseTunnel(s, tunnel, session.Revoked) {
			continue
		}
		k.release(s, tunnel.ID)
		k.log.Info("a tunnel is not granted any more", "session", s.ID, "token", s.Token, "hostname", tunnel.Hostname)
	}
}

// judgeAgain has all sessions that match judged anew, at once.
func (k *Keeper) judgeAgain(ctx context.Context, matches func(session.Identity) bool) {
	now := time.Now()
	k.mu.Lock()
	k.changed = now
	for _, h := range k.held {
		if matches(h.session.Identity) {
			h.due, h.again = now, h.running
		}
	}
	for key, j := range k.judged {
		if matches(j.grant.Identity) {
			delete(k.judged, key)
		}
	}
	k.mu.Unlock()
	k.startRenewals(ctx, now)
}

// renewAt spreads renewals over the third quarter of a grant's life.
func renewAt(g Grant) time.Time {
	half := max(g.validFor/2, time.Second)
	return time.Now().Add(half + rand.N(half/2)) // #nosec G404 -- a spread, not a secret
}

// renew keeps all sessions' assertions fresh.
func (k *Keeper) renew(ctx context.Context) error {
	tick := time.NewTicker(renewTick)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			k.startRenewals(ctx, now)
			k.forget(now)
		case <-ctx.Done():
			return k.renews.Wait(context.WithoutCancel(ctx))
		}
	}
}

func (k *Keeper) startRenewals(ctx context.Context, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, h := range k.held {
		if h.running || now.Before(h.due) {
			continue
		}
		if !k.renews.Do(id, func() { k.renewOne(ctx, h) }) {
			return // as many as may; the rest at the next tick
		}
		h.running = true
	}
}

func (k *Keeper) renewOne(ctx context.Context, h *holding) {
	grant, err := k.validate(ctx, h.credential)
	due := time.Now().Add(renewRetry)
	switch {
	case err == nil && grant.Agent == h.session.Agent && grant.Account == h.session.Account:
		h.session.Renew(grant.Assertion)
		k.remember(grant)
		k.renewed(h, grant)
		due = renewAt(grant)
	case err == nil:
		k.table.End(h.session, session.Lost, errChanged)
	case final(err):
		k.table.End(h.session, session.Revoked, err)
		if ended(err) {
			k.table.Revoke(h.session.Token) // its other sessions need not find out one by one
		}
	case ctx.Err() == nil:
		k.log.WarnContext(ctx, "a session's standing could not be renewed", "session", h.session.ID, "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.again {
		due = time.Now()
	}
	h.due, h.running, h.again = due, false, false
}

// renewed has a session live by what auth says now.
func (k *Keeper) renewed(h *holding, g Grant) {
	k.mu.Lock()
	h.allowed, h.counted = g.Allowed, h.counted || g.MaxAgents > 0
	k.mu.Unlock()
	k.enforce(h.session, g.Allowed)
}

// renewAll has every session judged anew: something may have been missed.
func (k *Keeper) renewAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, h := range k.held {
		h.due, h.again = now, h.running
	}
	k.changed = now
	clear(k.judged)
}

// forget drops judgements that no longer count.
func (k *Keeper) forget(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, j := range k.judged {
		if !j.counts(now) {
			delete(k.judged, key)
		}
	}
}
