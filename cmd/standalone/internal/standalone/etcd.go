package standalone

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// historyKept is how far back the store's revisions are kept.
const historyKept = "1h"

// store is an etcd inside the process. It listens nowhere: no other user of the
// machine can reach it.
type store struct {
	server *embed.Etcd
	client *clientv3.Client
	lock   *fileutil.LockedFile
}

// openStore starts an etcd on dir, which survives restarts. A second process on
// the same directory is refused at once.
func openStore(ctx context.Context, dir string, log *slog.Logger) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s is in use by another dialbackd: stop it, or name another one with --data: %w", dir, err)
	}
	server, err := startEtcd(ctx, filepath.Join(dir, "etcd"))
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("store in %s: %w", dir, err)
	}
	log.Debug("store is open", "dir", dir)
	return &store{server: server, client: v3client.New(server.Server), lock: lock}, nil
}

func startEtcd(ctx context.Context, dir string) (*embed.Etcd, error) {
	// A member needs a peer address in its configuration. This one is never
	// listened on, and a cluster of one never dials it.
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, []url.URL{}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, []url.URL{nowhere}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, historyKept
	cfg.LogLevel = "error"
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
		return server, nil
	case err := <-server.Err():
		server.Close()
		return nil, err
	case <-ctx.Done():
		server.Close()
		return nil, ctx.Err()
	}
}

// Close stops the etcd and gives the directory free.
func (s *store) Close() {
	_ = s.client.Close()
	s.server.Close()
	_ = s.lock.Close()
}
