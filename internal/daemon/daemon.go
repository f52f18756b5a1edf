// Package daemon is what the processes of the services have in common: flags, a
// logger, tracing, an identity, and connections to each other.
package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/dialback/dialback/internal/config"
	"github.com/dialback/dialback/internal/debugport"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/internal/version"
)

// envPrefix begins the name of every flag's environment variable.
const envPrefix = "DIALBACK_"

// Flags are those that every service has, for a command's own struct to embed.
type Flags struct {
	Cert      string `required:"" type:"path" help:"Service certificate, PEM; this service's role and name are in it. Reloaded when it changes."`
	Key       string `required:"" type:"path" help:"Its key, PEM."`
	CA        string `required:"" type:"path" help:"CA of the service certificates, PEM."`
	Debug     string `help:"Where /metrics and /debug/pprof are served, host:port; no access control. None: nowhere."`
	LogFormat string `enum:"text,json" default:"json" help:"Log as text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"Log from this level on."`
}

// Common returns the flags that every service has, of whatever struct embeds them.
func (f *Flags) Common() *Flags { return f }

// Command is a struct with kong tags that embeds Flags.
type Command interface {
	Common() *Flags
	// Serve runs the service until ctx ends. What it took from p is closed behind it.
	Serve(ctx context.Context, p *Process) error
}

// Main runs a command until it ends, SIGINT or SIGTERM, and returns its exit code.
func Main(name string, run func(ctx context.Context, args []string) error, args []string) int {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	if err := run(ctx, args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Run fills the command from args, environment and file, and has it serve until
// ctx ends. role is the service's, which its certificate must have; about is one
// sentence for --help.
func Run(ctx context.Context, role, about string, c Command, args []string) (err error) {
	if _, err := config.Parse(c, args, config.Options{
		Name: role, Description: about, EnvPrefix: envPrefix, Version: version.String(),
	}); err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	p, err := start(ctx, role, c.Common())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close(context.WithoutCancel(ctx))) }()
	return c.Serve(ctx, p)
}

func start(ctx context.Context, role string, f *Flags) (*Process, error) {
	log, err := telemetry.NewLogger(os.Stderr, f.LogFormat, f.LogLevel)
	if err != nil {
		return nil, err
	}
	identity, err := tlsconf.WatchService(ctx, f.Cert, f.Key, f.CA, log)
	if err != nil {
		return nil, err
	}
	if own := identity.Identity(); own.Role != role {
		return nil, fmt.Errorf("service certificate %s is of %s: want one of role %s", f.Cert, own, role)
	}
	telemetry.SetErrorHandler(log)
	tracing, err := telemetry.New(ctx, telemetry.Config{
		Service: "dialback-" + role, Instance: rand.Text(), Version: version.Version,
	}, nil)
	if err != nil {
		return nil, err
	}
	p := &Process{Log: log, Tracing: tracing, Identity: identity, Metrics: debugport.NewMetrics()}
	if err := p.serveDebug(ctx, f.Debug); err != nil {
		return nil, errors.Join(err, p.close(context.WithoutCancel(ctx)))
	}
	return p, nil
}
