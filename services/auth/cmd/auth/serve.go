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

	OIDCIssuer    string        `name:"oidc-issuer" placeholder:"URL" help:"OpenID provider that people log in with; none: nobody does."`
	OIDCClientID  string        `name:"oidc-client-id" help:"This deployment's id at the provider."`
	OIDCRoleClaim string        `name:"oidc-role-claim" default:"groups" help:"Claim by which roles are given."`
	OIDCRole      []string      `name:"oidc-role" sep:"none" placeholder:"VALUE=ROLE@ACCOUNT" help:"What who has a value of the claim may do, such as platform=admin@default; repeat for several."`
	OIDCValidFor  time.Duration `name:"oidc-valid-for" default:"8h" help:"How long a login counts."`

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
	c.Listen, c.Server = f.Listen, f.Server
	c.OIDC = auth.OIDC{
		Issuer: f.OIDCIssuer, ClientID: f.OIDCClientID, RoleClaim: f.OIDCRoleClaim, Roles: f.OIDCRole, ValidFor: f.OIDCValidFor,
	}
	c.AuditAge, c.AuditCount = f.AuditAge, f.AuditCount
	if c.CAPins, err = tlsconf.ParsePins(f.CAPin); err != nil {
		return c, fmt.Errorf("--ca-pin: %w", err)
	}
	return c, nil
}
