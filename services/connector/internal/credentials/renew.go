package credentials

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	renewsAtOnce  = 8
	renewsWaiting = 256
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
	due        time.Time
	running    bool
}

// Hold keeps a session's assertion fresh until it has ended.
func (k *Keeper) Hold(s *session.Session, g Grant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[s.ID] = &holding{session: s, credential: g.credential, due: renewAt(g)}
}

// Drop forgets a session.
func (k *Keeper) Drop(s *session.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, s.ID)
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
		due = renewAt(grant)
	case err == nil:
		k.table.End(h.session, session.Lost, errChanged)
	case final(err):
		k.table.End(h.session, session.Revoked, err)
		k.table.Revoke(h.session.Token) // its other sessions need not find out one by one
	case ctx.Err() == nil:
		k.log.WarnContext(ctx, "a session's standing could not be renewed", "session", h.session.ID, "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	h.due, h.running = due, false
}

// renewAll has every session judged anew: something may have been missed.
func (k *Keeper) renewAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, h := range k.held {
		h.due = now
	}
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
