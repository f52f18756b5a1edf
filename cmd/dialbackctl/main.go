// Command dialbackctl administers a deployment of Dialback.
package main

import (
	"context"
	"os"

	"github.com/dialback/dialback/internal/ctl"
	"github.com/dialback/dialback/internal/lifecycle"
)

func main() {
	ctx, stop := lifecycle.Signals(context.Background())
	code := ctl.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
