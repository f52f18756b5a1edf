package grpcapi

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
)

// sayEvery is how often a stream to which nothing happens says how far it is.
const sayEvery = 10 * time.Second

var (
	errPosition = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "that is no position").
			WithField("after", "want the position of an earlier answer, or 0")
	errEnding = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this frontdoor is stopping; watch again after the last position that you have handled").WithRetry(time.Second)
)

// Events streams the histories of auth and registry as one. Each of them decides
// what the caller may see.
type Events struct {
	frontdoorv1.UnimplementedEventServiceServer
	auth, registry grpc.ClientConnInterface
	stopping       <-chan struct{}
}

// NewEvents returns the service; its streams end when stopping is closed.
func NewEvents(auth, registry grpc.ClientConnInterface, stopping <-chan struct{}) *Events {
	return &Events{auth: auth, registry: registry, stopping: stopping}
}

// position is how far a stream is in each history. The revisions are of two
// stores: they do not compare.
type position struct {
	auth, registry, epoch int64
	heard                 int // of how many histories it is
}

// everything is before all that is kept, in both histories.
const everything = -1

func parsePosition(text string) (p position, err error) {
	switch text {
	case "":
		return p, nil
	case "0":
		return position{auth: everything, registry: everything}, nil
	}
	parts := strings.Split(text, "-")
	into := []*int64{&p.auth, &p.registry, &p.epoch}
	if len(parts) != len(into) {
		return p, errPosition
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 63)
		if err != nil {
			return p, errPosition
		}
		*into[i] = int64(n) // #nosec G115 -- of 63 bits
	}
	return p, nil
}

func (p position) String() string { return fmt.Sprintf("%d-%d-%d", p.auth, p.registry, p.epoch) }

// step is what one history says: events, and how far that is.
type step struct {
	events []*auditv1.Event
	move   func(*position)
}

// history follows one service, and hands on what it says until ctx ends.
type history func(ctx context.Context, after position, req *frontdoorv1.WatchEventsRequest, out chan<- step) error

// WatchEvents implements frontdoorv1.EventServiceServer.
func (s *Events) WatchEvents(req *frontdoorv1.WatchEventsRequest, stream frontdoorv1.EventService_WatchEventsServer) error {
	at, err := parsePosition(req.GetAfter())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(onBehalf(stream.Context()))
	defer cancel()
	steps, ends := make(chan step), make(chan error)
	histories := []history{s.ofAuth, s.ofRegistry}
	for _, follow := range histories {
		go func() {
			err := follow(ctx, at, req, steps)
			select {
			case ends <- err:
			case <-ctx.Done():
			}
		}()
	}
	say := time.NewTicker(sayEvery)
	defer say.Stop()
	var pending []*auditv1.Event
	for {
		select {
		case one := <-steps:
			one.move(&at)
			pending = append(pending, one.events...)
		case <-say.C:
		case err := <-ends:
			return err
		case <-s.stopping:
			return errEnding
		case <-ctx.Done():
			return ctx.Err()
		}
		// Each history says at once how far it is; a position is of all of them.
		if at.heard < len(histories) {
			continue
		}
		if err := stream.Send(&frontdoorv1.WatchEventsResponse{Events: pending, Position: at.String()}); err != nil {
			return err
		}
		pending = nil
	}
}

func (s *Events) ofAuth(ctx context.Context, after position, req *frontdoorv1.WatchEventsRequest, out chan<- step) error {
	stream, err := authv1.NewAuditServiceClient(s.auth).WatchEvents(ctx, &authv1.WatchEventsRequest{
		AfterRevision: after.auth, Kind: req.GetKind(), AccountId: req.GetAccountId(),
	})
	if err != nil {
		return err
	}
	return handOn(ctx, stream.Recv, out, func(m *authv1.WatchEventsResponse, p *position) { p.auth = m.GetRevision() })
}

func (s *Events) ofRegistry(ctx context.Context, after position, req *frontdoorv1.WatchEventsRequest, out chan<- step) error {
	stream, err := registryv1.NewTunnelServiceClient(s.registry).WatchTunnels(ctx, &registryv1.WatchTunnelsRequest{
		AfterRevision: after.registry, Epoch: uint64(max(after.epoch, 0)), Kind: req.GetKind(), AccountId: req.GetAccountId(),
	})
	if err != nil {
		return err
	}
	return handOn(ctx, stream.Recv, out, func(m *registryv1.WatchTunnelsResponse, p *position) {
		p.registry, p.epoch = m.GetRevision(), int64(m.GetEpoch()) // #nosec G115 -- it counts restores
	})
}

// handOn passes on what a history says until it ends.
func handOn[M interface{ GetEvents() []*auditv1.Event }](ctx context.Context, recv func() (M, error), out chan<- step, move func(M, *position)) error {
	for first := 1; ; first = 0 {
		m, err := recv()
		if err != nil {
			return err
		}
		one := step{m.GetEvents(), func(p *position) {
			p.heard += first
			move(m, p)
		}}
		select {
		case out <- one:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
