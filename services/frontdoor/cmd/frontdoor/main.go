// Command frontdoor accepts visitors and brings them to agents.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/dialback/dialback/internal/config"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/version"
)

func main() {
	ctx, stop := lifecycle.Signals(context.Background())
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "frontdoor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var flags flags
	if _, err := config.Parse(&flags, args, config.Options{
		Name: "frontdoor", Description: "Accepts visitors and brings them to agents.",
		EnvPrefix: "DIALBACK_", Version: version.String(),
	}); err != nil {
		return err
	}
	return serve(ctx, flags)
}
