// Package cli is dialbackd's command line.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/dialback/dialback/cmd/standalone/internal/standalone"
	"github.com/dialback/dialback/internal/config"
	"github.com/dialback/dialback/internal/datadir"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/version"
)

// commands are what dialbackd can do; serve is what it does unless told
// otherwise.
type commands struct {
	Serve serveCommand `cmd:"" default:"withargs" help:"Serve visitors and agents."`
	Demo  demoCommand  `cmd:"" help:"Serve, with an agent in front of a sample page."`
}

type serveCommand struct {
	standalone.Config `embed:""`
	LogLevel          string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat         string `help:"text or json." enum:"text,json" default:"text"`
}

type demoCommand struct {
	standalone.Config `embed:""`
	LogLevel          string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"warn"`
}

// chosen is the command line in one form, whatever the command.
type chosen struct {
	config           standalone.Config
	level, logFormat string
	demo             bool
}

func (c *commands) chosen(command string) chosen {
	if command == "demo" {
		return chosen{config: c.Demo.Config, level: c.Demo.LogLevel, logFormat: "text", demo: true}
	}
	return chosen{config: c.Serve.Config, level: c.Serve.LogLevel, logFormat: c.Serve.LogFormat}
}

// usageError is a command line that cannot be carried out.
type usageError struct{ error }

// ExitCode returns the process's exit code for an error of Run: 2 for what the
// caller can mend on the command line, else 1.
func ExitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// Run carries out a command line until ctx ends.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c commands
	parsed, err := config.Parse(&c, args, config.Options{
		Name: "dialbackd", Description: "Dialback's server, all parts in one process.",
		EnvPrefix: "DIALBACK_", Version: version.String(), Stdout: stdout,
		Vars: map[string]string{"data": datadir.Default()},
	})
	if err != nil {
		return usageError{err}
	}
	choice := c.chosen(parsed.Command())
	if err := choice.config.Validate(); err != nil {
		return usageError{err}
	}
	log, err := telemetry.NewLogger(stderr, choice.logFormat, choice.level)
	if err != nil {
		return usageError{err}
	}
	telemetry.SetErrorHandler(log)
	return serve(ctx, choice, log, stdout)
}

func serve(ctx context.Context, c chosen, log *slog.Logger, stdout io.Writer) error {
	server, err := standalone.Open(ctx, c.config, log)
	if err != nil {
		return err
	}
	defer server.Close()
	if c.demo {
		return runDemo(ctx, server, log, stdout)
	}
	return server.Run(ctx, func(g standalone.Greeting) { announce(log, stdout, c.logFormat, g) })
}

// announce says where everything is: to a person, or as a line of the log to a
// program.
func announce(log *slog.Logger, stdout io.Writer, format string, g standalone.Greeting) {
	if format == "json" {
		log.Info("ready", "http", g.HTTP, "tls", g.TLS, "admin", g.Admin, "api", g.API, "rest", g.REST, "domain", g.Domain, "agents", g.Agents, "pin", g.Pin)
		return
	}
	fmt.Fprint(stdout, greeting(g))
}

func greeting(g standalone.Greeting) string {
	s := fmt.Sprintf(`
  Dialback is up.

  Visitors    %s
  Agents      %s
  REST        %s
  Data        %s
`, g.Example, g.Agents, g.REST, g.Data)
	if g.Note != "" {
		s += "  Agent       " + g.Note + "\n"
	}
	if g.ContextNote != "" {
		s += "  dialbackctl " + g.ContextNote + "\n"
	}
	if g.Domain == standalone.LocalDomain {
		s += "\n  Put a service on the web:     dialback http 8080\n  Or any TCP service:           dialback tcp 22\n"
	}
	return s + "  See what is served:           dialbackctl get tunnels\n  Give somebody else access:    dialbackctl token create\n\n"
}
