// Package directory is the connector's side of the registry: it registers the
// node, binds and releases names, asserts all of it again after an outage, and
// hears when a name went to somebody else.
package directory

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector/internal/session"
)

// callTimeout bounds each call of the registry.
const callTimeout = 5 * time.Second

var (
	errNodeUnknown = errs.New(errs.NotFound, errs.ReasonNodeUnknown, "")
	// ErrAway says that the registry cannot be asked.
	ErrAway = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"names cannot be bound right now; retry").WithRetry(time.Second)
)

// Node is what the registry tells others of this connector.
type Node struct {
	ID             string
	Address        string
	AgentAddresses []string
	RelayAddress   string
	Version        string
}

// Client speaks to the registry for one connector.
type Client struct {
	nodes registryv1.NodeServiceClient
	names registryv1.DirectoryServiceClient
	table *session.Table
	node  Node
	log   *slog.Logger

	// life outlives Run: ends are still to be said while the node drains.
	life      context.Context
	kill      context.CancelFunc
	farewells *session.Lanes
	kick      chan struct{} // of one: a heartbeat is due now
	// stay ends with Leave, gone is closed when nothing renews the node any more.
	stay  context.Context
	leave context.CancelFunc
	gone  chan struct{}

	mu           sync.Mutex
	registration int64 // 0: none yet
	changed      chan struct{}
	lost         bool // the registry does not know the registration any more
	draining     bool

	peers      peers
	leaving    leaving
	drainAsked chan struct{}
}

// New returns a client; Run does its work, and Leave must end it.
func New(conn grpc.ClientConnInterface, table *session.Table, node Node, log *slog.Logger) *Client {
	life, kill := context.WithCancel(context.Background())
	stay, leave := context.WithCancel(context.Background())
	return &Client{
		life: life, kill: kill,
		nodes: registryv1.NewNodeServiceClient(conn), names: registryv1.NewDirectoryServiceClient(conn),
		table: table, node: node, log: log,
		farewells: session.NewLanes(farewellsAtOnce, farewellsWaiting),
		kick:      make(chan struct{}, 1),
		stay:      stay, leave: leave, gone: make(chan struct{}),
		changed: make(chan struct{}),
		peers:   newPeers(), leaving: leaving{ids: make(map[string]bool)}, drainAsked: make(chan struct{}),
	}
}

// current returns the registration, and a channel that is closed when it changes.
func (c *Client) current() (id int64, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.registration, c.changed
}

func (c *Client) registered(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registration, c.lost = id, false
	close(c.changed)
	c.changed = make(chan struct{})
}

// unknown notes that the registry does not know a registration any more.
func (c *Client) unknown(id int64) {
	c.mu.Lock()
	if id == c.registration {
		c.lost = true
	}
	c.mu.Unlock()
	c.wake()
}

// forgotten reports whether the node has to be registered anew.
func (c *Client) forgotten() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

func (c *Client) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *Client) state() registryv1.NodeState {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return registryv1.NodeState_NODE_STATE_DRAINING
	}
	return registryv1.NodeState_NODE_STATE_READY
}

// Drain says that this connector takes nothing new.
func (c *Client) Drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	c.wake()
}

// Leave delivers what is still to be said and removes the node. Run, which must
// have been started, renews the lease no more: a heartbeat behind the removal
// would find the node unknown and register it again, for nobody.
func (c *Client) Leave(ctx context.Context) error {
	defer c.kill()
	unsaid := c.farewells.Wait(ctx)
	c.leave()
	select {
	case <-c.gone:
	case <-ctx.Done():
	}
	id, _ := c.current()
	if id == 0 {
		return unsaid
	}
	_, err := c.nodes.DeregisterNode(ctx, &registryv1.DeregisterNodeRequest{NodeId: c.node.ID, Registration: id})
	return errors.Join(unsaid, err)
}

func reasonToWire(r session.Reason) agentv1.CloseReason { return agentv1.CloseReason(r) }

// away reports whether err says nothing about what was asked.
func away(err error) bool {
	e, ok := errs.From(err)
	return !ok || e.Kind() == errs.Unavailable || e.Kind() == errs.DeadlineExceeded || e.Kind() == errs.Internal
}

// refusal reports whether err is the registry's own word, which asking again
// would not change.
func refusal(err error) bool {
	e, ok := errs.From(err)
	return ok && !away(err) && e.Kind() != errs.ResourceExhausted
}
