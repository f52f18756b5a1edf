package lifecycle

import "context"

// GoInTurn starts a task that drains by itself when its context ends. That
// context ends as a step of the drain, in the reverse of the order in which such
// tasks were added: when those that need it are gone. It carries no values.
func (g *Group) GoInTurn(name string, f func(ctx context.Context) error) {
	turn, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	g.Go(name, func(ctx context.Context) error {
		defer close(done)
		defer context.AfterFunc(ctx, end)()
		return f(turn)
	})
	g.OnDrain(name, func(ctx context.Context) error {
		end()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}
