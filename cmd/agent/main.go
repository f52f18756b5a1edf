// Command dialback is the agent: it gives a local service a public URL.
package main

import (
	"context"
	"os"

	"github.com/dialback/dialback/internal/agent/cli"
	"github.com/dialback/dialback/internal/lifecycle"
)

func main() {
	ctx, stop := lifecycle.Signals(context.Background())
	code := cli.Run(ctx, os.Args[1:], cli.OS())
	stop()
	os.Exit(code)
}
