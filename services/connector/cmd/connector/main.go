// Command connector holds agents' control streams and has agents dial back.
package main

import (
	"context"
	"os"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
)

func main() { os.Exit(daemon.Main(tlsconf.RoleConnector, run, os.Args[1:])) }

func run(ctx context.Context, args []string) error {
	return daemon.Run(ctx, tlsconf.RoleConnector, "Holds agents' control streams and has agents dial back to frontdoors.", &flags{}, args)
}
