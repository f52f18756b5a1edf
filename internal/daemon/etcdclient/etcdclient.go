// Package etcdclient opens the store of the services that have one. It is apart
// from daemon so that the others are built without etcd.
package etcdclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
)

// Flags say where etcd is, for a command's own struct to embed.
type Flags struct {
	Endpoints []string `name:"etcd" required:"" help:"etcd's endpoints."`
	CA        string   `name:"etcd-ca" type:"path" help:"CA of etcd's certificates, PEM. With it, etcd is called with the service certificate."`
}

// Open returns a client that is closed with the process. It does not wait for
// etcd.
func (f Flags) Open(p *daemon.Process) (*clientv3.Client, error) {
	config := clientv3.Config{
		Endpoints: f.Endpoints, DialTimeout: 5 * time.Second,
		// A member that is gone without a word is left within seconds.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
		PermitWithoutStream: true, Logger: zap.NewNop(),
	}
	if f.CA != "" {
		pool, err := tlsconf.LoadPoolFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("--etcd-ca: %w", err)
		}
		config.TLS = &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: pool, GetClientCertificate: p.Identity.GetClientCertificate,
		}
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("--etcd: %w", err)
	}
	p.OnClose(func(context.Context) error { return client.Close() })
	return client, nil
}
