package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends at SIGINT or SIGTERM, with the signal as its
// cause. From then on signals have their default effect again: a second one ends the
// process at once. stop releases what it holds.
func Signals(ctx context.Context) (signalled context.Context, stop func()) {
	signalled, cancel := context.WithCancelCause(ctx)
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		var cause error
		select {
		case s := <-arrived:
			cause = fmt.Errorf("%s signal received", s)
		case <-signalled.Done():
		}
		signal.Stop(arrived) // before anybody says that the first one was heard
		cancel(cause)
	}()
	return signalled, func() {
		signal.Stop(arrived)
		cancel(nil)
	}
}
