// Command frontdoor accepts visitors and brings them to agents.
package main

import (
	"context"
	"os"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
)

func main() { os.Exit(daemon.Main(tlsconf.RoleFrontdoor, run, os.Args[1:])) }

func run(ctx context.Context, args []string) error {
	return daemon.Run(ctx, tlsconf.RoleFrontdoor, "Accepts visitors and brings them to agents.", &flags{}, args)
}
