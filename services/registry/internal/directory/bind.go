package directory

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// MaxAttachments bounds the ways to one claim: an agent has two or three,
	// and a take-over removes all of them in one transaction.
	MaxAttachments = 16
	// maxAttempts bounds how often records are read again that change all the time.
	maxAttempts = 12
	// inUseRetry is when an agent asks again for a name of its own account: the
	// other one may be gone, its claim waits for the rest of its grace.
	inUseRetry = 5 * time.Second
)

// Config is what a Directory is told.
type Config struct {
	// Domain is the deployment's, canonical.
	Domain string
	// Park is how long a random name, or a port, is kept for its tunnel after its end.
	Park time.Duration
	// Ports of TCP endpoints.
	Ports Ports
	// PortRest is how long a port that was given up is given to no other account,
	// however few there are: frontdoors may route it by a copy that is that old.
	PortRest time.Duration
}

// Directory binds and releases names.
type Directory struct {
	config  Config
	store   Store
	holders Holders
	turns   *turns
}

// New returns a directory on a store.
func New(config Config, store Store, holders Holders) *Directory {
	return &Directory{config: config, store: store, holders: holders, turns: newTurns()}
}

// BindRequest asks for a name for a tunnel and attaches it through a session.
type BindRequest struct {
	Principal    Principal
	Node         string
	Registration int64
	Session      string
	Tunnel       string
	Name         Name
	Service      Service
	// Pooling: others of the account that want it too may serve the name beside it.
	Pooling bool
	// Address is the agent's, for the audit.
	Address string

	// silent is the endpoint as it was when its holder did not answer; nil: it
	// was not asked.
	silent *Endpoint
}

func (r BindRequest) key() TunnelKey {
	return TunnelKey{Account: r.Principal.Account, Agent: r.Principal.Agent, Tunnel: r.Tunnel}
}

func (r BindRequest) source() Source {
	return Source{Actor: r.Principal.Actor(), Address: r.Address, Node: r.Node}
}

// Bind claims a name, or takes it back, and attaches it. It answers the claim.
// A repeat by the same tunnel is the same claim, and a tunnel that asks for
// another name moves: its old one is freed in the same transaction.
func (d *Directory) Bind(ctx context.Context, req BindRequest) (*Claim, error) {
	switch {
	case req.Service.Protocol == ProtocolTCP && d.config.Ports.First == 0:
		return nil, errNoPorts
	case req.Service.Protocol != ProtocolHTTP && req.Service.Protocol != ProtocolTCP:
		return nil, ErrOptionUnsupported.WithMessage("this deployment serves http and tcp endpoints only")
	}
	name, err := req.Name.resolve(req.Service.Protocol, d.config.Domain)
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := d.mayHave(req.Principal, name); err != nil {
			return nil, err
		}
	}
	if req.Pooling && (name == "" || IsWildcard(name) || PortOf(name) != 0) {
		return nil, errPoolName
	}
	if err := d.supported(ctx, req.Service.Critical); err != nil {
		return nil, err
	}
	claim, err := d.attempt(ctx, req, name)
	if d.challenge(ctx, &req, err) {
		claim, err = d.attempt(ctx, req, name)
	}
	return claim, err
}

func (d *Directory) attempt(ctx context.Context, req BindRequest, name string) (claim *Claim, err error) {
	err = d.inTurn(ctx, req.Principal, func() error {
		return retry(ctx, func() (err error) {
			claim, err = d.bind(ctx, req, name)
			return err
		})
	})
	return claim, err
}

// mayHave refuses what p can never have, whoever else wants it.
func (d *Directory) mayHave(p Principal, name string) error {
	if err := d.eligible(name); err != nil {
		return err
	}
	return granted(p, name)
}

func (d *Directory) bind(ctx context.Context, req BindRequest, name string) (*Claim, error) {
	if req.Pooling {
		return d.bindMember(ctx, req, name)
	}
	found, err := d.find(ctx, req, name)
	if err != nil {
		return nil, err
	}
	view, old := found.view, found.old
	first, err := d.decide(req, view.Endpoint, name == "")
	if err != nil {
		return nil, err
	}
	plan := Plan{
		Tunnel: &view.Tunnel, Registration: req.Registration, Transitions: []Transition{first},
		Usage: view.Usage, Uncount: !req.Principal.Limits.any(), Events: bindEvents(req, first),
	}
	if fresh := view.Endpoint.Claim == nil || view.Endpoint.Claim.Account != req.Principal.Account; fresh {
		if err := d.unreserved(ctx, req.Principal, view, &plan); err != nil {
			return nil, err
		}
	}
	if old.Claim.has(view.Tunnel.Key) {
		away := d.moveAway(req.Principal, old)
		plan.Transitions = append(plan.Transitions, away)
		plan.Events = append(plan.Events, endEvents(away, req.source(), "moved")...)
		if err := d.leavePool(ctx, &plan, old.Hostname); err != nil {
			return nil, err
		}
	}
	if err := within(req.Principal, plan); err != nil {
		return nil, err
	}
	plan.Attach = &Attachment{
		Hostname: first.Claim.Hostname, Generation: first.Claim.Generation,
		Connector: req.Node, Session: req.Session,
	}
	_, err = d.store.Commit(ctx, plan)
	return first.Claim, err
}

// unreserved refuses a name that is reserved for others, and has the plan hold
// only while that is so. A name that the account has already cannot be reserved
// for others meanwhile: a reservation is refused while somebody else has it.
func (d *Directory) unreserved(ctx context.Context, p Principal, view View, plan *Plan) error {
	name := view.Endpoint.Hostname
	if err := free(p, name, d.config.Domain, view.Levels); err != nil {
		return err
	}
	plan.Levels = view.Levels
	if !IsWildcard(name) {
		return nil
	}
	below, err := d.store.Below(ctx, name, p.Account)
	if err != nil {
		return err
	}
	if other := cmp.Or(below.Claim, below.Reservation); other != "" {
		return taken(name, other, "%q includes %q, which belongs to another account; choose another name", name, other)
	}
	plan.Below = &below
	return nil
}

// decide is the rule of ownership: what a bind makes of an endpoint. chosen says
// that the registry has chosen the name.
func (d *Directory) decide(req BindRequest, before Endpoint, chosen bool) (Transition, error) {
	p, claim := req.Principal, before.Claim
	switch {
	case claim == nil:
		return Transition{Before: before, Claim: fresh(req, before, chosen)}, nil
	case claim.Account != p.Account:
		if claim.Port() != 0 && chosen && d.rested(claim, p.Account) {
			return Transition{Before: before, Claim: fresh(req, before, chosen)}, nil
		}
		return Transition{}, taken(before.Hostname, before.Hostname, "%q belongs to another account; choose another name", before.Hostname)
	case claim.Pooled:
		return Transition{}, errPooled(before.Hostname)
	case claim.Agent != p.Agent:
		return rival(req, before)
	case claim.Instance != p.Instance || claim.Parked:
		return takeOver(req, before), nil
	case claim.Tunnel != req.Tunnel && len(before.Attachments) > 0:
		return Transition{}, ErrNameInUse.
			WithMessage("%q is in use by another tunnel of this agent; close it, or choose another name", before.Hostname).
			WithMetadata("hostname", before.Hostname).WithRetry(inUseRetry)
	case claim.Tunnel != req.Tunnel:
		return takeOver(req, before), nil
	}
	return attach(req, before)
}

// rival decides about a name that another agent of the account has.
func rival(req BindRequest, before Endpoint) (Transition, error) {
	claim := before.Claim
	if claim.Parked && claim.Port() != 0 {
		return takeOver(req, before), nil // its agent has given it up: the account has not
	}
	if req.mayTake(before) {
		return takeOver(req, before), nil
	}
	return Transition{}, ErrNameInUse.
		WithMessage("%q is in use by another agent of your account; stop it, or choose another name", before.Hostname).
		WithMetadata("hostname", before.Hostname).WithRetry(inUseRetry).WithCause(&held{before})
}

// nextGeneration is higher than every generation that the name has had, be it
// free in between: it follows the store's revision, which rises with each change.
// A store that was restored, with its revision bumped as it has to be, does not
// have the take-overs since the backup, but gives none of their generations again.
func nextGeneration(before Endpoint) uint64 {
	next := uint64(before.Revision) + 1 // #nosec G115 -- revisions are positive
	if before.Claim != nil {
		next = max(next, before.Claim.Generation+1)
	}
	return next
}

// fresh claims a free name. An attachment of a former owner's, written again late,
// can never have its generation.
func fresh(req BindRequest, before Endpoint, chosen bool) *Claim {
	p := req.Principal
	return &Claim{
		Hostname: before.Hostname, Generation: nextGeneration(before),
		Account: p.Account, Agent: p.Agent, Instance: p.Instance, Token: p.Token,
		Tunnel: req.Tunnel, Service: req.Service, Revision: 1, Random: chosen,
		Created: time.Now(), Connectors: []string{req.Node}, MaxConnections: p.MaxConnections,
	}
}

// takeOver gives the claim to the agent's new instance or tunnel, or to another
// agent of the account, and ends every older attachment: some of them may be half-open and would swallow visitors.
func takeOver(req BindRequest, before Endpoint) Transition {
	claim := before.Claim.clone()
	claim.Generation = nextGeneration(before)
	claim.Parked, claim.ParkedAt, claim.ParkUntil = false, time.Time{}, time.Time{}
	claim.Agent, claim.Instance, claim.Token, claim.Tunnel = req.Principal.Agent, req.Principal.Instance, req.Principal.Token, req.Tunnel
	claim.Connectors, claim.MaxConnections = []string{req.Node}, req.Principal.MaxConnections
	claim.serve(req.Service)
	return Transition{Before: before, Claim: claim, End: true, Reason: TakenOver}
}

// attach adds a way to a claim that the agent's instance has.
func attach(req BindRequest, before Endpoint) (Transition, error) {
	again := false
	for _, a := range before.Attachments {
		again = again || a.Connector == req.Node && a.Session == req.Session
	}
	if !again && len(before.Attachments) >= MaxAttachments {
		return Transition{}, ErrOverloaded.
			WithMessage("%q has as many attachments as it may; close some sessions", before.Hostname).WithRetry(inUseRetry)
	}
	claim := before.Claim.clone()
	claim.Token, claim.MaxConnections = req.Principal.Token, req.Principal.MaxConnections
	claim.addConnector(req.Node)
	claim.serve(req.Service)
	return Transition{Before: before, Claim: claim}, nil
}

// moveAway frees the name that a tunnel had. A port rests: it stays parked for the
// agent, as no tunnel's that could ask for it, since the tunnel has another name.
func (d *Directory) moveAway(p Principal, old Endpoint) Transition {
	reason := Closed
	if old.Claim.Instance != p.Instance {
		reason = TakenOver
	}
	if old.Claim.Port() == 0 {
		return Transition{Before: old, End: true, Reason: reason}
	}
	t := d.end(old, reason)
	t.Claim.Tunnel = old.Hostname
	return t
}

// bindEvents says who has the name now; one more way to it is no event.
func bindEvents(req BindRequest, t Transition) []Event {
	before := t.Before.Claim
	switch {
	case before == nil:
		return []Event{tunnelEvent(Bound, t.Claim, req.source(), "")}
	case before.Generation == t.Claim.Generation:
		return nil
	case before.Account != t.Claim.Account:
		return []Event{tunnelEvent(EndedWith, before, req.source(), "given up"), tunnelEvent(Bound, t.Claim, req.source(), "")}
	case before.Parked:
		return []Event{tunnelEvent(Bound, t.Claim, req.source(), "")}
	}
	return []Event{tunnelEvent(TookOver, t.Claim, req.source(), "")}
}

// supported refuses critical options that some frontdoor that is alive does not
// know: it would serve the endpoint without them.
func (d *Directory) supported(ctx context.Context, critical []string) error {
	if len(critical) == 0 {
		return nil
	}
	frontdoors, err := d.store.Frontdoors(ctx)
	if err != nil {
		return err
	}
	for _, f := range frontdoors {
		if missing := f.lacks(critical); missing != "" {
			return ErrOptionUnsupported.
				WithMessage("frontdoor %s does not know the option %q; upgrade it, or leave the option out", f.ID, missing).
				WithMetadata("option", missing)
		}
	}
	return nil
}

// retry calls f again while it meets changes, each time a little later.
func retry(ctx context.Context, f func() error) error {
	const step = 2 * time.Millisecond
	for attempt := range maxAttempts {
		err := f()
		if !errors.Is(err, ErrConflict) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(step << min(attempt, 6))): // #nosec G404 -- jitter
		}
	}
	return ErrUnavailable.WithMessage("too many agents ask for this name at once; retry")
}
