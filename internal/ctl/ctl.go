// Package ctl is dialbackctl: what an administrator does with a deployment, from a
// command line. Results go to stdout, so that they can be piped; whatever else
// there is to say goes to stderr.
package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/config"
	"github.com/dialback/dialback/internal/datadir"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/restclient"
	"github.com/dialback/dialback/internal/version"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// cli is the command line.
type cli struct {
	connection
	restFlags
	Get        getCommand           `cmd:"" aliases:"list" help:"Show resources: all of a kind, or some by id."`
	Create     createCommand        `cmd:"" help:"Make a resource."`
	Update     updateCommand        `cmd:"" help:"Change a resource."`
	Delete     deleteCommand        `cmd:"" help:"Delete resources; sessions and tunnels end."`
	Rotate     rotateCommand        `cmd:"" help:"Give a token a new secret; the old one can be good for a while."`
	Drain      drainCommand         `cmd:"" help:"Have a connector or frontdoor let everybody go elsewhere, and end."`
	Explain    explainCommand       `cmd:"" help:"Say what would become of a visitor's request now, and why."`
	Events     eventsCommand        `cmd:"" help:"Show what was done, by whom."`
	Kinds      kindsCommand         `cmd:"" help:"List the kinds of resources, or the fields of one."`
	Login      loginCommand         `cmd:"" help:"Log in at the server's OpenID provider, and keep the key in a context."`
	ConfigFile configCommands       `cmd:"" name:"config" help:"Keep contexts: which deployments there are, and the key for each."`
	Token      tokenCommands        `cmd:"" help:"Make, list and revoke authtokens, with an administrator's certificate."`
	PKI        pkiCommands          `cmd:"" name:"pki" help:"Make the authorities and certificates of a cluster, and replace them."`
	Restore    restoreFinishCommand `cmd:"" name:"restore-finish" help:"End a restore of etcd: what is remembered of the time before counts no more."`
	Completion completionCommand    `cmd:"" help:"Print a script that has a shell complete commands, kinds and ids."`
	Complete   completeCommand      `cmd:"" hidden:"" help:"Print the words that could come next."`
	Version    versionCommand       `cmd:"" help:"Print the version."`
}

// env is what commands work with.
type env struct {
	stdout, stderr io.Writer
	now            func() time.Time
	connection     *connection
	pki            *pkiCommands
	context        string             // that was asked for; empty: the current one
	client         *restclient.Client // of rest, once it was needed
}

// note says something to the person, not to the pipe.
func (e *env) note(format string, args ...any) {
	_, _ = fmt.Fprintf(e.stderr, format+"\n", args...) // there is nowhere left to complain
}

// Run runs one command and returns the exit code: 0, 1 for a failure, 2 for a
// command line that is wrong.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	e := &env{stdout: stdout, stderr: stderr, now: time.Now}
	var c cli
	ended := false // by --help or --version
	command, err := config.Parse(&c, args, config.Options{
		Name: "dialbackctl", Description: "Administers a deployment of Dialback.",
		EnvPrefix: "DIALBACK_ADMIN_", Version: version.String(),
		Vars: map[string]string{
			"credentials": datadir.Admin(datadir.Default()), "kinds": "Kind of resource: " + strings.Join(kindNames(), ", "),
		},
		Stdout: stdout, Exit: func(int) { ended = true },
	})
	switch {
	case ended:
		return exitOK
	case err != nil:
		e.note("dialbackctl: %v", err)
		return exitUsage
	}
	e.connection, e.pki, e.context = &c.connection, &c.PKI, c.Context
	defer e.close()
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(e); err != nil {
		e.note("dialbackctl: %s", e.explain(err, c.Server))
		return exitCode(err)
	}
	return exitOK
}

func (e *env) close() {
	if e.client != nil {
		e.client.Close()
	}
}

// exitCode tells what another command line mends from what it does not.
func exitCode(err error) int {
	if e, ok := errs.From(err); ok && e.Kind() == errs.InvalidArgument {
		return exitUsage
	}
	return exitFailure
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(e *env) error {
	_, err := fmt.Fprintln(e.stdout, "dialbackctl", version.String())
	return err
}
