// Command standalone is dialbackd: everything that serves Dialback, in one
// process.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/dialback/dialback/cmd/standalone/internal/cli"
	"github.com/dialback/dialback/internal/lifecycle"
)

func main() {
	ctx, stop := lifecycle.Signals(context.Background())
	err := cli.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dialbackd:", err)
		os.Exit(cli.ExitCode(err))
	}
}
