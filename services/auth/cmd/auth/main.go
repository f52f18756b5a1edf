// Command auth knows accounts and credentials, and signs its word on them.
package main

import (
	"context"
	"os"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
)

func main() { os.Exit(daemon.Main(tlsconf.RoleAuth, run, os.Args[1:])) }

func run(ctx context.Context, args []string) error {
	return daemon.Run(ctx, tlsconf.RoleAuth, "Knows accounts and credentials, and signs its word on them.", &flags{}, args)
}
