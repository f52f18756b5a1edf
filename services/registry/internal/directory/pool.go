package directory

import (
	"context"
	"strings"

	"github.com/dialback/dialback/internal/hostname"
)

const (
	memberMark = "@" // begins a member's name; no hostname has it
	memberJoin = "+" // stands between the ids of its agent and its tunnel
	// maxMembers bounds a pool.
	maxMembers = 64
)

var errPoolName = ErrInvalid.WithMessage("pooling needs a hostname that every member asks for").
	WithField("name", "want a hostname or a subdomain")

// Members are a pool's, as they were at a revision.
type Members struct {
	Pool     string
	Names    []string
	Revision int64
}

// MemberName is the name of a tunnel's own claim in a pool. It stands below the
// pool's name as a label that nobody else can have.
func MemberName(pool string, key TunnelKey) string {
	return memberMark + key.Agent + memberJoin + key.Tunnel + "." + pool
}

// PoolOf returns the pool that a name is a member's of, "" for all other names.
func PoolOf(name string) string {
	if !strings.HasPrefix(name, memberMark) {
		return ""
	}
	_, pool, _ := strings.Cut(name, ".")
	return pool
}

// ParseKnown is ParseName for whoever names what is there: members have names, too.
func ParseKnown(s string) (string, error) {
	pool := PoolOf(s)
	if pool == "" {
		return ParseName(s)
	}
	member, _, _ := strings.Cut(s[len(memberMark):], ".")
	agent, tunnel, _ := strings.Cut(member, memberJoin)
	if host, err := hostname.Normalize(pool); err != nil || host != pool || !isID(agent) || !isID(tunnel) {
		return "", ErrNameInvalid.WithMessage("%.160q is no member of a pool", s)
	}
	return s, nil
}

// isID reports whether s may be an agent's or a tunnel's id.
func isID(s string) bool {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return s != "" && len(s) <= 64 && strings.Trim(s, alphabet) == ""
}

func errPooled(name string) error {
	return ErrNameInUse.WithMessage("%q is served by a pool of your account; start this one with --pooling, too, or choose another name", name).
		WithMetadata("hostname", name).WithRetry(inUseRetry)
}

func errUnpooled(before Endpoint) error {
	return ErrNameInUse.WithMessage("%q is in use by an agent of your account that does not pool; start both with --pooling", before.Hostname).
		WithMetadata("hostname", before.Hostname).WithRetry(inUseRetry).WithCause(&held{before})
}

// bindMember makes a tunnel one of those that serve a name. It has a claim of its
// own, below the name, by which it is fenced like any other: another instance of
// its agent takes over that claim, and nobody else's.
func (d *Directory) bindMember(ctx context.Context, req BindRequest, name string) (*Claim, error) {
	view, err := d.load(ctx, req, name)
	if err != nil {
		return nil, err
	}
	member, err := d.store.Endpoint(ctx, MemberName(name, req.key()))
	if err != nil {
		return nil, err
	}
	pool, err := pooled(req, view.Endpoint)
	if err != nil {
		return nil, err
	}
	if err := d.room(ctx, name, member); err != nil {
		return nil, err
	}
	first, err := d.decide(req, member, false)
	if err != nil {
		return nil, err
	}
	plan := Plan{
		Tunnel: &view.Tunnel, Registration: req.Registration, Transitions: []Transition{first, pool},
		Usage: view.Usage, Uncount: !req.Principal.Limits.any(), Events: bindEvents(req, first),
		Attach: &Attachment{Hostname: member.Hostname, Generation: first.Claim.Generation, Connector: req.Node, Session: req.Session},
	}
	if view.Endpoint.Claim == nil {
		if err := d.unreserved(ctx, req.Principal, view, &plan); err != nil {
			return nil, err
		}
	}
	if err := d.leaveOther(ctx, req, view.Tunnel, &plan); err != nil {
		return nil, err
	}
	if err := within(req.Principal, plan); err != nil {
		return nil, err
	}
	_, err = d.store.Commit(ctx, plan)
	return first.Claim, err
}

// pooled decides whether a name is, or becomes, a pool's.
func pooled(req BindRequest, before Endpoint) (Transition, error) {
	claim := before.Claim
	switch {
	case claim == nil:
		pool := fresh(req, before, false)
		pool.Agent, pool.Instance, pool.Tunnel, pool.Connectors, pool.Pooled = "", "", "", nil, true
		return Transition{Before: before, Claim: pool}, nil
	case claim.Account != req.Principal.Account:
		return Transition{}, taken(before.Hostname, before.Hostname, "%q belongs to another account; choose another name", before.Hostname)
	case claim.Pooled:
		return Transition{Before: before, Claim: claim}, nil
	case claim.has(req.key()), req.mayTake(before), claim.Agent == req.Principal.Agent && len(before.Attachments) == 0:
		pool := takeOver(req, before).Claim
		pool.Agent, pool.Instance, pool.Tunnel, pool.Connectors, pool.Pooled, pool.Random = "", "", "", nil, true, false
		return Transition{Before: before, Claim: pool, End: true, Reason: Lost}, nil
	}
	return Transition{}, errUnpooled(before)
}

// room refuses one more member than a pool may have.
func (d *Directory) room(ctx context.Context, name string, member Endpoint) error {
	if member.Claim != nil {
		return nil
	}
	members, err := d.store.Members(ctx, name)
	if err == nil && len(members.Names) >= maxMembers {
		err = ErrOverloaded.WithMessage("%q has as many members as a pool may have, %d", name, maxMembers).WithRetry(inUseRetry)
	}
	return err
}

// leaveOther has the tunnel leave a name that it had before this one.
func (d *Directory) leaveOther(ctx context.Context, req BindRequest, has TunnelEntry, plan *Plan) error {
	for _, t := range plan.Transitions {
		if t.Before.Hostname == has.Hostname {
			return nil
		}
	}
	if has.Hostname == "" {
		return nil
	}
	old, err := d.store.Endpoint(ctx, has.Hostname)
	if err != nil || !old.Claim.has(has.Key) {
		return err
	}
	away := d.moveAway(req.Principal, old)
	plan.Transitions = append(plan.Transitions, away)
	plan.Events = append(plan.Events, endEvents(away, req.source(), "moved")...)
	return d.leavePool(ctx, plan, old.Hostname)
}

// leavePool has a plan that ends a member end its pool, too, if it is the last.
func (d *Directory) leavePool(ctx context.Context, plan *Plan, member string) error {
	name := PoolOf(member)
	if name == "" {
		return nil
	}
	members, err := d.store.Members(ctx, name)
	if err != nil {
		return err
	}
	for _, other := range members.Names {
		if other != member {
			return nil
		}
	}
	pool, err := d.store.Endpoint(ctx, name)
	if err == nil && pool.Claim != nil && pool.Claim.Pooled {
		plan.Members = &members
		plan.Transitions = append(plan.Transitions, Transition{Before: pool})
	}
	return err
}

// dissolve ends a pool that has no members: the last two left in one moment.
func (d *Directory) dissolve(ctx context.Context, pool Endpoint) (bool, error) {
	members, err := d.store.Members(ctx, pool.Hostname)
	if err != nil || len(members.Names) > 0 {
		return false, err
	}
	_, err = d.store.Commit(ctx, Plan{Transitions: []Transition{{Before: pool}}, Members: &members})
	return err == nil, err
}

// closePool ends all members, and with the last of them the pool.
func (d *Directory) closePool(ctx context.Context, pool Endpoint, by Source) error {
	members, err := d.store.Members(ctx, pool.Hostname)
	if err != nil {
		return err
	}
	for _, name := range members.Names {
		member, err := d.store.Endpoint(ctx, name)
		if err != nil {
			return err
		}
		if member.Claim == nil {
			continue
		}
		if err := d.finish(ctx, d.end(member, Deleted), by, Deleted.String()); err != nil {
			return err
		}
	}
	return nil
}
