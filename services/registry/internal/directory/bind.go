package directory

import (
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
	// Park is how long a random name is kept for its tunnel after its end.
	Park time.Duration
}

// Directory binds and releases names.
type Directory struct {
	config Config
	store  Store
}

// New returns a directory on a store.
func New(config Config, store Store) *Directory {
	return &Directory{config: config, store: store}
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
}

func (r BindRequest) key() TunnelKey {
	return TunnelKey{Account: r.Principal.Account, Agent: r.Principal.Agent, Tunnel: r.Tunnel}
}

// Bind claims a name, or takes it back, and attaches it. It answers the claim.
// A repeat by the same tunnel is the same claim, and a tunnel that asks for
// another name moves: its old one is freed in the same transaction.
func (d *Directory) Bind(ctx context.Context, req BindRequest) (*Claim, error) {
	if req.Service.Protocol != ProtocolHTTP {
		return nil, ErrOptionUnsupported.WithMessage("this deployment serves http endpoints only")
	}
	host, err := req.Name.resolve(d.config.Domain)
	if err != nil {
		return nil, err
	}
	if host != "" {
		if err := allowed(req.Principal, host, d.config.Domain); err != nil {
			return nil, err
		}
	}
	if err := d.supported(ctx, req.Service.Critical); err != nil {
		return nil, err
	}
	var claim *Claim
	err = retry(ctx, func() (err error) {
		claim, err = d.bind(ctx, req, host)
		return err
	})
	return claim, err
}

func (d *Directory) bind(ctx context.Context, req BindRequest, host string) (*Claim, error) {
	tunnel, before, err := d.store.Load(ctx, req.key(), host)
	if err != nil {
		return nil, err
	}
	var old Endpoint
	if tunnel.Hostname != "" && tunnel.Hostname != host {
		if old, err = d.store.Endpoint(ctx, tunnel.Hostname); err != nil {
			return nil, err
		}
	}
	if host == "" {
		if before, old, err = d.randomFor(ctx, old); err != nil {
			return nil, err
		}
		if err := allowed(req.Principal, before.Hostname, d.config.Domain); err != nil {
			return nil, err
		}
	}
	first, err := decide(req, before)
	if err != nil {
		return nil, err
	}
	first.Claim.Random = first.Claim.Random || host == "" && before.Claim == nil
	plan := Plan{Tunnel: &tunnel, Registration: req.Registration, Transitions: []Transition{first}}
	if old.Claim.has(tunnel.Key) {
		plan.Transitions = append(plan.Transitions, moveAway(req.Principal, old))
	}
	plan.Attach = &Attachment{
		Hostname: before.Hostname, Generation: first.Claim.Generation,
		Connector: req.Node, Session: req.Session,
	}
	return first.Claim, d.store.Commit(ctx, plan)
}

// randomFor returns the endpoint of a tunnel that wants a random name: the one
// it has, if that is random, or a new one; and what is left to be freed.
func (d *Directory) randomFor(ctx context.Context, has Endpoint) (wanted, old Endpoint, err error) {
	if has.Claim != nil && has.Claim.Random {
		return has, Endpoint{}, nil
	}
	wanted, err = d.store.Endpoint(ctx, randomName(d.config.Domain))
	return wanted, has, err
}

// decide is the rule of ownership: what a bind makes of an endpoint.
func decide(req BindRequest, before Endpoint) (Transition, error) {
	p, claim := req.Principal, before.Claim
	switch {
	case claim == nil:
		return Transition{Before: before, Claim: fresh(req, before)}, nil
	case claim.Account != p.Account:
		return Transition{}, ErrNameTaken.
			WithMessage("%q belongs to another account; choose another name", before.Hostname).
			WithMetadata("hostname", before.Hostname)
	case claim.Agent != p.Agent:
		return Transition{}, ErrNameInUse.
			WithMessage("%q is in use by another agent of your account; stop it, or choose another name", before.Hostname).
			WithMetadata("hostname", before.Hostname).WithRetry(inUseRetry)
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

// fresh claims a free name. The store's revision is higher than every
// generation that the name has had: an attachment of a former owner's, written
// again late, can never have this one.
func fresh(req BindRequest, before Endpoint) *Claim {
	p := req.Principal
	return &Claim{
		Hostname: before.Hostname, Generation: uint64(before.Revision) + 1, // #nosec G115 -- revisions are positive
		Account: p.Account, Agent: p.Agent, Instance: p.Instance, Token: p.Token,
		Tunnel: req.Tunnel, Service: req.Service, Revision: 1,
		Created: time.Now(), Connectors: []string{req.Node},
	}
}

// takeOver gives the claim to the agent's new instance or tunnel and ends every
// older attachment: some of them may be half-open and would swallow visitors.
func takeOver(req BindRequest, before Endpoint) Transition {
	claim := before.Claim.clone()
	claim.Generation++
	claim.Parked, claim.ParkUntil = false, time.Time{}
	claim.Instance, claim.Token, claim.Tunnel = req.Principal.Instance, req.Principal.Token, req.Tunnel
	claim.Connectors = []string{req.Node}
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
	claim.Token = req.Principal.Token
	claim.addConnector(req.Node)
	claim.serve(req.Service)
	return Transition{Before: before, Claim: claim}, nil
}

// moveAway frees the name that a tunnel had.
func moveAway(p Principal, old Endpoint) Transition {
	reason := Closed
	if old.Claim.Instance != p.Instance {
		reason = TakenOver
	}
	return Transition{Before: old, End: true, Reason: reason}
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
