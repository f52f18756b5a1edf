// Package registryclient is how a frontdoor speaks to the registry: it follows
// the mapping, looks up what it has missed, and keeps its own entry among the
// nodes.
package registryclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
	// silence is how long a watch may say nothing; it speaks every 10 s.
	silence     = 30 * time.Second
	expireEvery = 10 * time.Second
	// maxSnapshot bounds the changes held before a snapshot's last message.
	maxSnapshot = 5_000_000
)

var errCompacted = errs.New(errs.NotFound, errs.ReasonCompacted, "")

// Listener hears what concerns connections rather than routes.
type Listener interface {
	// Connector says that a connector is in the node table.
	Connector(c route.Connector)
	// ConnectorGone says that it is not, any more. It may live on.
	ConnectorGone(id string)
	// Connectors says which ones are in the node table, and no others.
	Connectors(list []route.Connector)
	// Cut says that all connections for a tunnel of the agent are to end.
	Cut(agent route.Agent, tunnelID string)
}

// FollowerDeps are the registry, and what is kept like it.
type FollowerDeps struct {
	Registry grpc.ClientConnInterface
	Table    *route.Table
	Nodes    *nodes.Table
	Listener Listener
	Logger   *slog.Logger
}

// Follower keeps tables like the registry's. While the registry is away they
// are served as they are.
type Follower struct {
	client   registryv1.DirectoryServiceClient
	table    *route.Table
	nodes    *nodes.Table
	listener Listener
	log      *slog.Logger
	standing chan struct{} // closed when the first snapshot has been applied
}

// NewFollower returns a follower that Run brings to life.
func NewFollower(deps FollowerDeps) *Follower {
	return &Follower{
		client: registryv1.NewDirectoryServiceClient(deps.Registry),
		table:  deps.Table, nodes: deps.Nodes, listener: deps.Listener, log: deps.Logger,
		standing: make(chan struct{}),
	}
}

// Standing is closed once the table holds a first snapshot.
func (f *Follower) Standing() <-chan struct{} { return f.standing }

// Run follows until ctx ends, whatever happens to the registry.
func (f *Follower) Run(ctx context.Context) error {
	wait := retryFirst
	for {
		began := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > retryLast {
			wait = retryFirst
		}
		_, age := f.table.Progress()
		f.log.Warn("the registry's watch ended; known routes are served on", "error", err, "age", age)
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, retryLast)
	}
}

// pause waits a random time up to limit, so that those who lost one peer at one
// instant do not come back at one instant. It reports false when ctx ends.
func pause(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(limit)))) // #nosec G404 -- jitter
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// follow is one stream: from the table's position on, or with a snapshot.
func (f *Follower) follow(ctx context.Context) error {
	err := f.stream(ctx, true)
	if errors.Is(err, errCompacted) {
		return f.stream(ctx, false)
	}
	return err
}

func (f *Follower) stream(ctx context.Context, resume bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errors.New("the watch fell silent")) })
	defer quiet.Stop()
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()

	request := &registryv1.WatchRequest{}
	if p, _ := f.table.Progress(); resume && p != (route.Position{}) {
		request.After = &registryv1.Position{Epoch: p.Epoch, Revision: p.Revision}
	}
	stream, err := f.client.Watch(ctx, request)
	if err != nil {
		return err
	}
	step := stepper{Follower: f}
	for {
		response, err := stream.Recv()
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		quiet.Reset(silence)
		if err := step.apply(response); err != nil {
			return err
		}
		select {
		case <-expire.C:
			f.table.Expire()
			f.nodes.Expire()
		default:
		}
	}
}

// stepper applies one stream's messages.
type stepper struct {
	*Follower
	snapshot *route.Snapshot // being received; nil: changes are applied at once
	listed   []nodes.Node    // of the snapshot
}

func (s *stepper) apply(r *registryv1.WatchResponse) error {
	if r.GetSnapshot() {
		s.snapshot, s.listed = &route.Snapshot{}, nil
	}
	for _, change := range r.GetChanges() {
		if s.snapshot == nil {
			s.change(change)
		} else if err := s.collect(change); err != nil {
			return err
		}
	}
	if r.GetPosition() == nil {
		return nil
	}
	at := positionOf(r.GetPosition())
	if s.snapshot == nil {
		s.table.Advance(at)
		return nil
	}
	snapshot := *s.snapshot
	s.snapshot = nil
	if !s.table.Replace(snapshot, at) {
		return fmt.Errorf("the replica's snapshot is older than what is known here: revision %d", at.Revision)
	}
	s.nodes.Replace(s.listed)
	s.listener.Connectors(snapshot.Connectors)
	s.log.Info("routes received", "endpoints", len(snapshot.Claims), "attachments", len(snapshot.Attachments),
		"connectors", len(snapshot.Connectors), "revision", at.Revision)
	select {
	case <-s.standing:
	default:
		close(s.standing)
	}
	return nil
}

func (s *stepper) collect(change *registryv1.Change) error {
	switch c := change.GetChange().(type) {
	case *registryv1.Change_Claim:
		s.snapshot.Claims = append(s.snapshot.Claims, claimOf(c.Claim))
	case *registryv1.Change_Attachment:
		s.snapshot.Attachments = append(s.snapshot.Attachments, attachmentOf(c.Attachment))
	case *registryv1.Change_Node:
		s.listed = append(s.listed, nodeOf(c.Node))
		if c.Node.GetKind() == registryv1.NodeKind_NODE_KIND_CONNECTOR {
			s.snapshot.Connectors = append(s.snapshot.Connectors, connectorOf(c.Node))
		}
	}
	if len(s.snapshot.Claims)+len(s.snapshot.Attachments) > maxSnapshot {
		return errors.New("the snapshot does not end")
	}
	return nil
}

func (s *stepper) change(change *registryv1.Change) {
	switch c := change.GetChange().(type) {
	case *registryv1.Change_Claim:
		s.table.PutClaim(claimOf(c.Claim))
	case *registryv1.Change_ClaimRemoved:
		s.table.RemoveClaim(c.ClaimRemoved)
	case *registryv1.Change_Attachment:
		s.table.PutAttachment(attachmentOf(c.Attachment))
	case *registryv1.Change_AttachmentEnded:
		s.ended(attachmentOf(c.AttachmentEnded.GetAttachment()), c.AttachmentEnded.GetReason())
	case *registryv1.Change_AttachmentVanished:
		s.table.VanishAttachment(attachmentOf(c.AttachmentVanished))
	case *registryv1.Change_Node:
		s.nodes.Put(nodeOf(c.Node))
		if c.Node.GetKind() == registryv1.NodeKind_NODE_KIND_CONNECTOR {
			s.table.PutConnector(connectorOf(c.Node))
			s.listener.Connector(connectorOf(c.Node))
		}
	case *registryv1.Change_NodeRemoved:
		s.nodes.Vanish(nodes.Kind(c.NodeRemoved.GetKind()), c.NodeRemoved.GetId())
		if c.NodeRemoved.GetKind() == registryv1.NodeKind_NODE_KIND_CONNECTOR {
			s.table.RemoveConnector(c.NodeRemoved.GetId())
			s.listener.ConnectorGone(c.NodeRemoved.GetId())
		}
	}
}

func (s *stepper) ended(a route.Attachment, reason agentv1.CloseReason) {
	known := s.table.Own(a.Hostname)
	if !Final(reason) {
		s.table.EndAttachment(a)
		return
	}
	s.table.EndForGood(a)
	if known != nil && known.Claim.Generation == a.Generation {
		s.listener.Cut(known.Claim.Agent, known.Claim.TunnelID)
	}
}

// Final holds for reasons after which no connection of the tunnel may live on,
// not even a busy one. After all others what is under way may finish.
func Final(reason agentv1.CloseReason) bool {
	return reason == agentv1.CloseReason_CLOSE_REASON_REVOKED || reason == agentv1.CloseReason_CLOSE_REASON_DELETED
}
