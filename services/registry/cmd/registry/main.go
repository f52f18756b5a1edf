// Command registry keeps which endpoint is served by whom.
package main

import (
	"context"
	"os"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
)

func main() { os.Exit(daemon.Main(tlsconf.RoleRegistry, run, os.Args[1:])) }

func run(ctx context.Context, args []string) error {
	return daemon.Run(ctx, tlsconf.RoleRegistry, "Keeps which endpoint is served by whom.", &flags{}, args)
}
