package main

import (
	"context"
	"time"

	"github.com/dialback/dialback/internal/apikey"
	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/daemon/etcdclient"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	daemon.Flags
	Etcd     etcdclient.Flags `embed:""`
	Listen   string           `default:"127.0.0.1:7402" help:"Where nodes call, host:port."`
	Domain   string           `required:"" help:"The deployment's domain: names are given below it."`
	Auth     string           `required:"" help:"Where auth is, a gRPC target such as dns:///auth:7401."`
	LeaseTTL time.Duration    `default:"10s" help:"How long a node lives without a heartbeat."`
	Grace    time.Duration    `default:"1m" help:"How long a name is kept for an agent that is not there."`
	Park     time.Duration    `default:"720h" help:"How long a random name is kept for its tunnel after its end."`
}

// Serve runs the registry until ctx ends.
func (f *flags) Serve(ctx context.Context, p *daemon.Process) error {
	etcd, err := f.Etcd.Open(p)
	if err != nil {
		return err
	}
	auth, err := p.Connect(f.Auth, tlsconf.RoleAuth)
	if err != nil {
		return err
	}
	listener, err := p.Listen(ctx, f.Listen)
	if err != nil {
		return err
	}
	config := registry.Default(f.Domain)
	config.LeaseTTL, config.Grace, config.Park = f.LeaseTTL, f.Grace, f.Park
	service, err := registry.New(config, registry.Deps{
		Etcd: etcd, TLS: p.Identity.Server(), Listener: listener,
		Logger: p.Log, Telemetry: p.Tracing, AssertionKeys: registry.AuthKeys(auth), Users: apikey.New(auth, time.Now),
	})
	if err != nil {
		return err
	}
	return service.Run(ctx)
}
