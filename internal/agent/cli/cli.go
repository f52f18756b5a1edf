// Package cli is the agent's command line, `dialback`.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/telemetry"
)

// The exit codes.
const (
	exitOK          = 0
	exitRuntime     = 1
	exitUsage       = 2
	exitToken       = 3
	exitName        = 4
	exitUnreachable = 5
	exitVersion     = 6
)

// System is what the command line takes from the operating system.
type System struct {
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Terminal says that Stdout is read by a person.
	Terminal bool
}

// OS is the process's own.
func OS() System {
	return System{Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Terminal: isTerminal(os.Stdout)}
}

// flags is the command line.
type flags struct {
	ConfigFile string `name:"config" type:"path" placeholder:"FILE" help:"Configuration file (${config_path})."`
	LogLevel   string `enum:"debug,info,warn,error" default:"info" help:"Least level of log lines: debug, info, warn or error."`
	LogFormat  string `enum:"text,json" default:"text" help:"Format of log lines: text or json."`

	HTTP    httpCommand    `cmd:"" name:"http" help:"Give a local web service a public URL."`
	TCP     tcpCommand     `cmd:"" name:"tcp" help:"Give a local TCP service, SSH or a database, a public port."`
	Config  configCommands `cmd:"" help:"Show and change the configuration file."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// program is what commands run with.
type program struct {
	System
	ctx   context.Context
	flags *flags
}

// exited unwinds the parser when it has printed its help.
type exited int

// usageError is an error of the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Run runs the command line args and returns the process's exit code. The end of
// ctx is an orderly one.
func Run(ctx context.Context, args []string, sys System) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exited:
			code = int(r)
		default:
			panic(r)
		}
	}()
	f := &flags{}
	parser, err := newParser(f, sys)
	if err != nil {
		return report(sys, err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return report(sys, usageError{fmt.Errorf("%w; see dialback --help", err)})
	}
	return report(sys, command.Run(&program{System: sys, ctx: ctx, flags: f}))
}

func newParser(f *flags, sys System) (*kong.Kong, error) {
	path, err := defaultConfigPath()
	if err != nil {
		path = "none: " + err.Error()
	}
	return kong.New(f,
		kong.Name("dialback"),
		kong.Description("Give a service that nobody can reach from outside a public URL."),
		kong.Vars{"config_path": path},
		kong.Resolvers(environment(sys.Getenv)),
		kong.Writers(sys.Stdout, sys.Stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
}

// environment gives each flag its variable: --log-level is DIALBACK_LOG_LEVEL. An
// empty one counts as unset. What names the server is left to selectServer,
// which has to know where it comes from.
func environment(getenv func(string) string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		name := "DIALBACK_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		switch flag.Name {
		case "server", "default", "help":
			return nil, nil
		case "pin":
			name = envPin
		}
		value := getenv(name)
		if value == "" {
			return nil, nil
		}
		return value, nil
	})
}

func (p *program) logger() (*slog.Logger, error) {
	return telemetry.NewLogger(p.Stderr, p.flags.LogFormat, p.flags.LogLevel)
}

// report prints an error, if there is one, and returns its exit code.
func report(sys System, err error) int {
	if err == nil {
		return exitOK
	}
	var usage usageError
	code := exitRuntime
	if errors.As(err, &usage) {
		code = exitUsage
	} else if class := agent.Classify(err); class != agent.FailureOther {
		code = exitCode(class)
	}
	_, _ = fmt.Fprintf(sys.Stderr, "dialback: %s\n", printable(explain(err)))
	return code
}

func exitCode(class agent.Failure) int {
	switch class {
	case agent.FailureUntrusted:
		return exitUsage
	case agent.FailureToken:
		return exitToken
	case agent.FailureName:
		return exitName
	case agent.FailureConnect:
		return exitUnreachable
	case agent.FailureVersion:
		return exitVersion
	default:
		return exitRuntime
	}
}
