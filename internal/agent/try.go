package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/agent/state"
)

// Try connects once, verifies the server and authenticates. The identity that
// the server gives is kept for the first tunnel. Its errors are those of Run.
func Try(ctx context.Context, config Config) error {
	config.Tunnels = nil
	a, err := New(config, Deps{})
	if err != nil {
		return err
	}
	slot, err := state.Acquire(a.config.StateDir, a.config.Address, nil)
	if err != nil {
		return err
	}
	defer func() { _ = slot.Close() }()
	r, err := a.newRun(slot)
	if err != nil {
		return err
	}
	defer r.stop(false)
	to := session.Target{Address: a.config.Address, ServerName: r.controlName(), Pins: a.config.Pins}
	s, err := session.Open(ctx, to, r.auth(), session.Deaf{})
	var connect *session.ConnectError
	switch {
	case err == nil:
		r.adopt(s.Welcome)
		s.Close()
		return nil
	case untrusted(err):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case errors.As(err, &connect):
		return fmt.Errorf("%w: %w", ErrCannotConnect, err)
	}
	return err
}
