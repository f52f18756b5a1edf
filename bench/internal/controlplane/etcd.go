package controlplane

import (
	"context"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/dialback/dialback/bench/internal/process"
)

// Etcd is a single member that writes to the disk as it does in earnest.
type Etcd struct {
	*process.Process
	Address string // host:port for clients
	Client  *clientv3.Client
}

func startEtcd(ctx context.Context, cfg Config) (*Etcd, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	clients, peers := "http://"+ports[0], "http://"+ports[1]
	p, err := process.Start(process.Local, process.Spec{
		Name: "etcd", Path: filepath.Join(cfg.Tools, "etcd"),
		Args: []string{
			"--name", "bench", "--data-dir", filepath.Join(cfg.Dir, "etcd"), "--log-level", "warn",
			"--listen-client-urls", clients, "--advertise-client-urls", clients,
			"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "bench=" + peers,
			"--quota-backend-bytes", "8589934592", "--auto-compaction-mode", "periodic", "--auto-compaction-retention", "5m",
		},
	})
	if err != nil {
		return nil, err
	}
	e := &Etcd{Process: p, Address: ports[0]}
	e.Client, err = clientv3.New(clientv3.Config{Endpoints: []string{ports[0]}, DialTimeout: startLimit, Logger: zap.NewNop()})
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		_, err = e.Client.Get(ctx, "ready", clientv3.WithSerializable())
	}
	if err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// stop ends it. A nil Etcd is stopped.
func (e *Etcd) stop() {
	if e == nil {
		return
	}
	if e.Client != nil {
		_ = e.Client.Close()
	}
	e.Stop()
}

// Pauses puts a key every 10 ms until ctx ends, and returns the longest time in
// which no put was answered.
func (e *Etcd) Pauses(ctx context.Context) (worst time.Duration, err error) {
	const every = 10 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := time.Now(); ; {
		if _, err := e.Client.Put(ctx, "probe", ""); err != nil && ctx.Err() == nil {
			return worst, err
		}
		now := time.Now()
		worst = max(worst, now.Sub(last))
		last = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return worst, nil
		}
	}
}
