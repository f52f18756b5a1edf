// Command connector holds agents' control streams and has agents dial back.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
)

// garbage is how much of it may lie about, in percent of what is in use, unless GOGC
// says otherwise. A connector's memory is that of silent sessions, of which there
// are thousands, and it makes little garbage: Go's default would double it.
const garbage = 25

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	os.Exit(daemon.Main(tlsconf.RoleConnector, run, os.Args[1:]))
}

func run(ctx context.Context, args []string) error {
	return daemon.Run(ctx, tlsconf.RoleConnector, "Holds agents' control streams and has agents dial back to frontdoors.", &flags{}, args)
}
