package main

import (
	"context"
	"fmt"
	"time"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/daemon/etcdclient"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/auth"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	daemon.Flags
	Etcd   etcdclient.Flags `embed:""`
	Listen string           `default:"127.0.0.1:7401" help:"Where nodes and dialbackctl call, host:port."`
	Server string           `required:"" help:"Where agents connect, host:port; shown with each new authtoken."`
	CAPin  []string         `help:"Pin of an authority that signs what agents connect to, sha256:<hex>; several during a rotation. None: publicly trusted certificates."`

	OIDC auth.OIDC `embed:"" prefix:"oidc-"`

	AuditAge   time.Duration `default:"2160h" help:"How long it is kept who has changed what."`
	AuditCount int           `default:"100000" help:"How many changes are kept at most."`
}

// Serve runs auth until ctx ends.
func (f *flags) Serve(ctx context.Context, p *daemon.Process) error {
	config, err := f.config()
	if err != nil {
		return err
	}
	etcd, err := f.Etcd.Open(p)
	if err != nil {
		return err
	}
	service, err := auth.New(config, auth.Deps{Etcd: etcd, TLS: p.Identity.Server(), Logger: p.Log, Telemetry: p.Tracing})
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

func (f *flags) config() (c auth.Config, err error) {
	c = auth.Default()
	c.Listen, c.Server, c.OIDC = f.Listen, f.Server, f.OIDC
	c.AuditAge, c.AuditCount = f.AuditAge, f.AuditCount
	if c.CAPins, err = tlsconf.ParsePins(f.CAPin); err != nil {
		return c, fmt.Errorf("--ca-pin: %w", err)
	}
	return c, nil
}
