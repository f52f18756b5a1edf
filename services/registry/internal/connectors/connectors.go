// Package connectors asks connectors whether those who hold names are there.
package connectors

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

const (
	// answerWithin bounds a challenge: an agent has a second, its connector the rest.
	answerWithin = 1500 * time.Millisecond
	// maxAtOnce bounds the challenges under way.
	maxAtOnce = 64
)

// Node is a connector in the table of nodes.
type Node struct {
	ID, Address string
	// Synced: it has attached all that it has.
	Synced bool
}

// Deps are what an Asker works with.
type Deps struct {
	// Dial returns a connection to a connector. One that can be closed is, after
	// the call.
	Dial func(id, address string) (grpc.ClientConnInterface, error)
	// Node returns a connector, if it is in the table.
	Node func(id string) (Node, bool)
	// Steady reports whether this registry has served for so long that every
	// connector that is well is in the table again.
	Steady func() bool
	Log    *slog.Logger
}

// Asker is a directory.Holders.
type Asker struct {
	deps  Deps
	turns chan struct{}
}

var _ directory.Holders = (*Asker)(nil)

// New returns an asker.
func New(deps Deps) *Asker { return &Asker{deps: deps, turns: make(chan struct{}, maxAtOnce)} }

// There reports whether the process that holds the endpoint may be there: it has
// answered through one of its connectors, or one of them could not be asked. It
// is not there if every connector says so.
func (a *Asker) There(ctx context.Context, e directory.Endpoint) bool {
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	default:
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	attached := map[string]bool{}
	for _, at := range e.Attachments {
		attached[at.Connector] = true
	}
	for _, id := range e.Claim.Connectors { // whose attachments may be on their way
		if !attached[id] {
			attached[id] = false
		}
	}
	verdicts := make(chan bool, len(attached))
	for id, is := range attached {
		go func() { verdicts <- a.throughOne(ctx, id, is, e.Claim) }()
	}
	for range attached {
		if <-verdicts {
			return true
		}
	}
	return false
}

// throughOne reports whether the holder may be there by one connector.
func (a *Asker) throughOne(ctx context.Context, id string, attached bool, claim *directory.Claim) bool {
	node, known := a.deps.Node(id)
	if !known {
		// Its lease has run out: it is dead, unless nobody could renew a lease.
		return !a.deps.Steady()
	}
	answered, err := a.ask(ctx, node, claim)
	if err != nil {
		a.deps.Log.WarnContext(ctx, "a connector could not be asked whether an agent is there",
			"connector", id, "agent", claim.Agent, "hostname", claim.Hostname, "error", err)
		return attached || !node.Synced
	}
	return answered
}

func (a *Asker) ask(ctx context.Context, node Node, claim *directory.Claim) (answered bool, err error) {
	conn, err := a.deps.Dial(node.ID, node.Address)
	if err != nil {
		return false, err
	}
	if c, ok := conn.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	resp, err := connectorv1.NewChallengeServiceClient(conn).Challenge(ctx, &connectorv1.ChallengeRequest{
		AgentId: claim.Agent, Instance: []byte(claim.Instance),
	})
	return resp.GetAnswered(), err
}
