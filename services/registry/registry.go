// Package registry keeps which endpoint is served by whom: claims, attachments,
// nodes. It is stateless: any number of replicas serve one etcd.
package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/rpc/validate"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/registry/internal/authkeys"
	"github.com/dialback/dialback/services/registry/internal/connectors"
	"github.com/dialback/dialback/services/registry/internal/directory"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
	"github.com/dialback/dialback/services/registry/internal/grpcapi"
	"github.com/dialback/dialback/services/registry/internal/history"
	"github.com/dialback/dialback/services/registry/internal/replica"
)

const (
	// keepAlive is how often a stream of the history hears that nothing happened.
	keepAlive = 10 * time.Second
	// trimEvery is how often the past is shortened.
	trimEvery = 5 * time.Second
)

// maxRequest is the longest request in bytes: 1000 attachments.
const maxRequest = 2 << 20

// AssertionKeys are auth's public keys.
type AssertionKeys interface {
	// AssertionKey returns the key with an id, or an error that says whether
	// auth does not have it or cannot be asked.
	AssertionKey(ctx context.Context, id string) (ed25519.PublicKey, error)
}

// AuthKeys returns the keys that auth answers on a connection, fetched when they
// are needed.
func AuthKeys(auth grpc.ClientConnInterface) AssertionKeys { return authkeys.New(auth) }

// Deps are what a registry works with. They stay the caller's, to be closed
// after Run; the listener is closed by Run.
type Deps struct {
	Etcd *clientv3.Client
	// TLS of the listener: nodes are known by their certificates.
	TLS           *tls.Config
	Listener      net.Listener
	Logger        *slog.Logger
	Telemetry     *telemetry.Telemetry
	AssertionKeys AssertionKeys
	// Users knows whose API keys are.
	Users rpc.Authenticator
	// Connector returns a connection to a connector, for a call. One that can be
	// closed is, behind it.
	Connector func(id, address string) (grpc.ClientConnInterface, error)
}

// Registry is one replica.
type Registry struct {
	config   Config
	log      *slog.Logger
	listener net.Listener
	store    *etcdstore.Store
	replica  *replica.Replica
	trail    *history.Trail
	sweeper  *directory.Sweeper
	server   *rpc.Server
	// steady is for how long it has served without a break.
	steady atomic.Int64
}

// New returns a replica that serves once it runs.
func New(config Config, deps Deps) (*Registry, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if deps.Etcd == nil || deps.TLS == nil || deps.Listener == nil || deps.Logger == nil || deps.AssertionKeys == nil || deps.Users == nil || deps.Connector == nil {
		return nil, errors.New("registry: etcd, TLS, listener, logger, assertion keys, users and a way to connectors are needed")
	}
	log := deps.Logger.With("part", "registry")
	r := &Registry{config: config, log: log, listener: deps.Listener, store: etcdstore.New(deps.Etcd)}
	r.replica = replica.New(replica.Config{History: config.History}, deps.Etcd, log)
	r.trail = history.New(history.Config{KeepAlive: keepAlive, Epoch: r.replica.Epoch}, deps.Etcd, r.store, log)
	names := directory.New(directory.Config{
		Domain: config.Domain, Park: config.Park,
		Ports: directory.Ports{First: config.Ports.First, Last: config.Ports.Last}, PortRest: config.PortRest,
	}, r.store, connectors.New(connectors.Deps{Dial: deps.Connector, Node: r.connector, Steady: r.isSteady, Log: log}))
	r.sweeper = directory.NewSweeper(names, r.replica, config.Grace)
	r.server = rpc.NewServer(rpc.ServerConfig{
		TLS: deps.TLS, Methods: grpcapi.Methods(), Users: deps.Users, Validator: validate.New(), Logger: log, Telemetry: deps.Telemetry,
	}, grpc.MaxRecvMsgSize(maxRequest))
	grpcapi.Services{
		Nodes:        grpcapi.NewNodes(r.store, config.LeaseTTL),
		Directory:    grpcapi.NewDirectory(names, r.store, r.replica, deps.AssertionKeys),
		Reservations: grpcapi.NewReservations(names),
		Tunnels:      grpcapi.NewTunnels(names, r.replica, r.trail),
		Names:        grpcapi.NewNames(names),
		Admin:        grpcapi.NewAdmin(names),
	}.Register(r.server)
	return r, nil
}

// connector returns a connector as the table of nodes has it.
func (r *Registry) connector(id string) (connectors.Node, bool) {
	n := r.replica.Connector(id)
	return connectors.Node{ID: id, Address: n.GetAddress(), Synced: n.GetSynced()}, n != nil
}

// isSteady reports whether every connector that is well has had the time to renew
// its lease here, or to register anew.
func (r *Registry) isSteady() bool {
	return time.Duration(r.steady.Load()) >= 2*r.config.LeaseTTL
}

// Addr is where it listens.
func (r *Registry) Addr() net.Addr { return r.listener.Addr() }

// Run serves until ctx ends, then drains. It answers as soon as it has a copy of
// the state, so that nobody is told that there is nothing.
func (r *Registry) Run(ctx context.Context) error {
	group := lifecycle.New(r.log)
	group.Go("replica", r.replica.Run)
	group.Go("history", r.trail.Run)
	group.Go("upkeep", r.upkeep)
	group.Go("sweeper", r.sweep)
	group.Go("serve", r.serve)
	group.OnDrain("calls", r.drain)
	return group.Run(ctx, r.config.DrainTimeout)
}

func (r *Registry) serve(ctx context.Context) error {
	select {
	case <-r.replica.Ready():
	case <-ctx.Done():
		_ = r.listener.Close()
		return ctx.Err()
	}
	r.log.InfoContext(ctx, "serving", "addr", r.Addr().String(), "domain", r.config.Domain)
	if err := r.server.Serve(r.listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// drain ends the watches, which would never end by themselves, and lets calls
// finish.
func (r *Registry) drain(ctx context.Context) error {
	r.replica.EndStreams()
	r.trail.EndStreams()
	return r.server.Drain(ctx)
}

// sweep ends claims whose grace is over. A moment counts only if the store was
// seen in it; a pause of the whole process does not count as time served.
func (r *Registry) sweep(ctx context.Context) error {
	interval := min(max(r.config.Grace/20, 50*time.Millisecond), time.Second)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		elapsed := min(time.Since(last), 2*interval)
		last = time.Now()
		if !r.serves(ctx) {
			r.steady.Store(0)
			continue
		}
		r.steady.Add(int64(elapsed))
		ended, err := r.sweeper.Tick(ctx, elapsed)
		if err != nil {
			r.log.WarnContext(ctx, "claims could not be ended, later again", "error", err)
		}
		if ended > 0 {
			r.log.InfoContext(ctx, "claims ended after their grace", "count", ended)
		}
	}
}

// upkeep corrects what the accounts are said to have, once, and forgets the past
// from time to time. What fails is tried again at the next time.
func (r *Registry) upkeep(ctx context.Context) error {
	repaired := false
	for lifecycle.Pause(ctx, trimEvery) {
		if !repaired {
			n, err := r.store.RepairUsage(ctx)
			repaired = err == nil
			if n > 0 {
				r.log.WarnContext(ctx, "the counts of accounts were wrong and are counted again", "accounts", n)
			}
		}
		for full := true; full; {
			n, err := r.store.TrimHistory(ctx, r.config.AuditKeep, r.config.AuditRecords)
			full = err == nil && n == etcdstore.TrimBatch
		}
	}
	return ctx.Err()
}

// serves reports whether agents could come back now.
func (r *Registry) serves(ctx context.Context) bool {
	if !r.replica.Current() {
		return false
	}
	_, err := r.store.Revision(ctx)
	return err == nil
}
