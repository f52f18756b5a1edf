package registryclient

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	lookupTimeout = 2 * time.Second
	negativeFor   = time.Second
	maxNegative   = 10_000
	lookupsASec   = 200
	lookupsBurst  = 400
)

// Resolver asks the registry for endpoints that the table does not know: a
// visitor may come right behind the answer that made the endpoint, before the
// watch has brought it. Names that nobody has are asked for once a second at
// most, and all misses together at a bounded rate: any visitor can invent names.
type Resolver struct {
	client registryv1.DirectoryServiceClient
	table  *route.Table
	limit  *rate.Limiter

	mu       sync.Mutex
	flights  map[string]*flight
	negative map[string]time.Time // name -> until when it is known to be unknown
}

type flight struct {
	done  chan struct{}
	found bool
}

// NewResolver returns a resolver that fills the table.
func NewResolver(conn grpc.ClientConnInterface, table *route.Table) *Resolver {
	return &Resolver{
		client: registryv1.NewDirectoryServiceClient(conn), table: table,
		limit:   rate.NewLimiter(lookupsASec, lookupsBurst),
		flights: map[string]*flight{}, negative: map[string]time.Time{},
	}
}

// Resolve looks one endpoint up and returns its route, nil if there is none or
// the registry cannot say.
func (r *Resolver) Resolve(ctx context.Context, hostname string) *route.Route {
	r.mu.Lock()
	if until, known := r.negative[hostname]; known && time.Now().Before(until) {
		r.mu.Unlock()
		return nil
	}
	f := r.flights[hostname]
	if f == nil {
		if !r.limit.Allow() {
			r.mu.Unlock()
			return nil
		}
		f = &flight{done: make(chan struct{})}
		r.flights[hostname] = f
		// The answer is for all who ask now, not only for the first of them.
		go r.fly(context.WithoutCancel(ctx), hostname, f)
	}
	r.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil
	}
	if !f.found {
		return nil
	}
	return r.table.Lookup(hostname)
}

func (r *Resolver) fly(ctx context.Context, hostname string, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	answer, err := r.client.Lookup(ctx, &registryv1.LookupRequest{Hostname: hostname})
	if err == nil && answer.GetClaim() != nil {
		attachments := make([]route.Attachment, 0, len(answer.GetAttachments()))
		for _, a := range answer.GetAttachments() {
			attachments = append(attachments, attachmentOf(a))
		}
		f.found = r.table.Merge(claimOf(answer.GetClaim()), attachments, positionOf(answer.GetPosition()))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flights, hostname)
	if errors.Is(err, route.ErrNotFound) {
		r.remember(hostname)
	}
	close(f.done)
}

// remember notes a name that nobody has. Where there is no room the oldest is
// not worth finding: all of them are stale within a second.
func (r *Resolver) remember(hostname string) {
	now := time.Now()
	if len(r.negative) >= maxNegative {
		for name, until := range r.negative {
			if now.After(until) {
				delete(r.negative, name)
			}
		}
		if len(r.negative) >= maxNegative {
			clear(r.negative)
		}
	}
	r.negative[hostname] = now.Add(negativeFor)
}
