package directory

import (
	"context"
	"strconv"
)

// Limits of an account, in auth's word; 0: none.
type Limits struct {
	Endpoints int
	// Agents counts distinct ones that have an endpoint, never sessions: an agent
	// that comes back beside its own half-open session is not a second one.
	Agents int
}

func (l Limits) any() bool { return l.Endpoints > 0 || l.Agents > 0 }

// Usage is what an account has in use, as it was read. Parked claims do not count.
// Only accounts with limits are counted: the record is one for all of an
// account's agents, and who has no limit need not stand in line for it.
type Usage struct {
	Account string
	// Counted: the numbers are right. Else the store counts at the next change.
	Counted           bool
	Endpoints, Agents int
	// Live is how many endpoints each agent has that was asked about.
	Live map[string]int
	// Version is the record's; 0: there is none.
	Version Version
	// Record is the usage as the store has it.
	Record any
}

// Delta is what a plan changes: endpoints in use by agent.
func (p Plan) Delta() (account string, byAgent map[string]int) {
	byAgent = map[string]int{}
	for _, t := range p.Transitions {
		if c := t.Before.Claim; c.active() {
			account = c.Account
			byAgent[c.Agent]--
		}
		if t.Claim.active() {
			account = t.Claim.Account
			byAgent[t.Claim.Agent]++
		}
	}
	for agent, n := range byAgent {
		if n == 0 {
			delete(byAgent, agent)
		}
	}
	return account, byAgent
}

// After returns the usage behind a change.
func (u Usage) After(byAgent map[string]int) Usage {
	for agent, n := range byAgent {
		before := u.Live[agent]
		u.Endpoints += n
		switch {
		case before == 0 && before+n > 0:
			u.Agents++
		case before > 0 && before+n <= 0:
			u.Agents--
		}
	}
	return u
}

// within refuses a plan that takes more than p's account may have. What it has
// already it may keep: a limit that was lowered ends nothing by itself.
func within(p Principal, plan Plan) error {
	if !p.Limits.any() || plan.Usage == nil {
		return nil
	}
	_, delta := plan.Delta()
	before, after := *plan.Usage, plan.Usage.After(delta)
	if most := p.Limits.Endpoints; most > 0 && after.Endpoints > most && after.Endpoints > before.Endpoints {
		return overQuota("endpoints", most)
	}
	if most := p.Limits.Agents; most > 0 && after.Agents > most && after.Agents > before.Agents {
		return overQuota("agents", most)
	}
	return nil
}

func overQuota(what string, most int) error {
	return ErrQuota.WithMessage("the account may have %d %s and has them; close one, or ask for a higher quota", most, what).
		WithMetadata("quota", what).WithMetadata("limit", strconv.Itoa(most)).WithRetry(inUseRetry)
}

// inTurn runs f; for an account with limits, when no other bind of it runs here:
// all of them change one record, and most of those at once would fail.
func (d *Directory) inTurn(ctx context.Context, p Principal, f func() error) error {
	if !p.Limits.any() {
		return f()
	}
	done, err := d.turns.take(ctx, p.Account)
	if err != nil {
		return err
	}
	defer done()
	return f()
}
