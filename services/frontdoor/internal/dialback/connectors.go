package dialback

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/registryclient"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	linkRetryFirst = 50 * time.Millisecond
	linkRetryLast  = 3 * time.Second
	// maxConnectors bounds the links that the node table can make us hold.
	maxConnectors = 1024
)

// Links are the streams to the connectors: one each, on which sessions' ends
// arrive, whatever the registry knows.
type Links struct {
	dial  func(id, address string) (grpc.ClientConnInterface, error)
	table *route.Table
	conns *pool.Pool
	log   *slog.Logger

	mu     sync.Mutex
	ctx    context.Context // of Run; nil before
	links  map[string]*link
	closed bool
	wg     sync.WaitGroup
}

// link is what we hold to one connector.
type link struct {
	id, address string
	conn        grpc.ClientConnInterface
	client      connectorv1.DialbackServiceClient
	stop        context.CancelFunc
	listed      bool // in the node table
}

func newLinks(dial func(id, address string) (grpc.ClientConnInterface, error), table *route.Table, set *pool.Pool, log *slog.Logger) *Links {
	return &Links{dial: dial, table: table, conns: set, log: log, links: map[string]*link{}}
}

// Run keeps the links until ctx ends.
func (l *Links) Run(ctx context.Context) error {
	l.mu.Lock()
	l.ctx = ctx
	for _, k := range l.links {
		l.startLocked(k)
	}
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

// Connector implements registryclient.Listener.
func (l *Links) Connector(c route.Connector) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listLocked(c)
}

// ConnectorGone implements registryclient.Listener. The link stays as long as
// the connector answers: a lease that ran out proves nothing.
func (l *Links) ConnectorGone(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.links[id]; k != nil {
		k.listed = false
	}
}

// Connectors implements registryclient.Listener.
func (l *Links) Connectors(list []route.Connector) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.links {
		k.listed = false
	}
	for _, c := range list {
		l.listLocked(c)
	}
}

// Cut implements registryclient.Listener.
func (l *Links) Cut(agent route.Agent, tunnelID string) { l.conns.Cut(agent, tunnelID, true) }

func (l *Links) listLocked(c route.Connector) {
	if k := l.links[c.ID]; k != nil {
		k.listed = true
		return
	}
	if l.closed || len(l.links) >= maxConnectors {
		return
	}
	conn, err := l.dial(c.ID, c.Address)
	if err != nil {
		l.log.Error("connector cannot be called", "connector", c.ID, "address", c.Address, "error", err)
		return
	}
	k := &link{id: c.ID, address: c.Address, conn: conn, client: connectorv1.NewDialbackServiceClient(conn), listed: true}
	l.links[c.ID] = k
	if l.ctx != nil {
		l.startLocked(k)
	}
}

func (l *Links) startLocked(k *link) {
	ctx, stop := context.WithCancel(l.ctx)
	k.stop = stop
	l.wg.Go(func() { l.keep(ctx, k) })
}

// client returns how to call a connector, nil if it is not known.
func (l *Links) client(id string) connectorv1.DialbackServiceClient {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.links[id]; k != nil {
		return k.client
	}
	return nil
}

// Conns returns the connections to the connectors, by node id.
func (l *Links) Conns() map[string]grpc.ClientConnInterface {
	l.mu.Lock()
	defer l.mu.Unlock()
	conns := make(map[string]grpc.ClientConnInterface, len(l.links))
	for id, k := range l.links {
		conns[id] = k.conn
	}
	return conns
}

// keep holds the stream to a connector. It ends when ctx does, or when the
// stream is lost and the connector is in the node table no more.
func (l *Links) keep(ctx context.Context, k *link) {
	defer k.close()
	wait := linkRetryFirst
	for {
		began := time.Now()
		err := l.watch(ctx, k)
		l.table.Link(k.id, false)
		if ctx.Err() != nil {
			return
		}
		l.log.Warn("the stream to a connector broke", "connector", k.id, "error", err)
		if l.forget(k) {
			return
		}
		if time.Since(began) > linkRetryLast {
			wait = linkRetryFirst
		}
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(wait)))) // #nosec G404 -- jitter
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, linkRetryLast)
	}
}

func (l *Links) watch(ctx context.Context, k *link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := k.client.WatchSessions(ctx, &connectorv1.WatchSessionsRequest{})
	if err != nil {
		return err
	}
	for {
		end, err := stream.Recv()
		if err != nil {
			return err
		}
		l.table.Link(k.id, true)
		if end.GetSessionId() != "" {
			l.ended(k, end)
		}
	}
}

// ended acts on the end of a session. After a revocation nothing lives on, not
// even what is under way; else what is under way finishes, and an agent that has
// another session keeps its connections.
func (l *Links) ended(k *link, end *connectorv1.WatchSessionsResponse) {
	elsewhere := l.table.EndSession(k.id, end.GetSessionId(), end.GetTunnelId())
	agent := route.Agent{ID: end.GetAgentId(), Instance: registryclient.InstanceOf(end.GetInstance())}
	if final := registryclient.Final(end.GetReason()); final || !elsewhere {
		l.conns.Cut(agent, end.GetTunnelId(), final)
	}
	l.log.Debug("session ended", "connector", k.id, "session", end.GetSessionId(),
		"agent", end.GetAgentId(), "tunnel", end.GetTunnelId(), "reason", end.GetReason().String())
}

// forget drops a link to a connector that is in the node table no more.
func (l *Links) forget(k *link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !k.listed {
		delete(l.links, k.id)
	}
	return !k.listed
}

func (k *link) close() {
	k.stop()
	if c, ok := k.conn.(io.Closer); ok {
		_ = c.Close()
	}
}
