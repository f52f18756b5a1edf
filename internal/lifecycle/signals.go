package lifecycle

import (
	"context"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends at SIGINT or SIGTERM, with the signal as its
// cause. From then on signals have their default effect again: a second one ends the
// process at once. stop releases what it holds.
func Signals(ctx context.Context) (signalled context.Context, stop func()) {
	signalled, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(signalled, stop)
	return signalled, stop
}
