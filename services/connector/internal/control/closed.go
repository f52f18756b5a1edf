package control

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/dialback/dialback/services/connector/internal/session"
)

// shakeOff is how long an agent may take to read why its session has ended
// before its connection is closed.
const shakeOff = 2 * time.Second

// hangUpSoon is called at the session's end. The reason of the end travels behind
// whatever the agent has not read, and a Send that waits for its agent ends with
// the connection alone.
func (a *agent) hangUpSoon(session.Reason) {
	a.hangUp = time.AfterFunc(shakeOff, func() { _ = a.link.conn.Close() })
}

// closed is the last act of a control stream: the session is over and is logged,
// once. The connection stays for an agent in good order, which may use it again.
func (a *agent) closed() {
	table := a.server.table
	table.End(a.session, session.Lost, context.Canceled) // only after a panic is it still alive
	a.server.keeper.Drop(a.session)
	a.server.spans.Forget(a.session)
	reason, cause := a.session.End()
	if reason != session.Unresponsive && reason != session.Revoked {
		a.hangUp.Stop()
	}
	fields := a.describe("reason", reason.String(), "duration", time.Since(a.session.Opened).Round(time.Millisecond))
	if n := a.unknown.Load(); n > 0 {
		fields = append(fields, "ignored_messages", n)
	}
	if cause != nil {
		fields = append(fields, "error", cause)
	}
	a.server.log.Info("session closed", fields...)
}

// describe returns a session's fields for the log, and more.
func (a *agent) describe(more ...any) []any {
	s := a.session
	return append([]any{"session", s.ID, "agent", s.Agent, "account", s.Account, "address", s.Address, "relay", s.Via}, more...)
}

// guard runs what handles an agent's messages outside of gRPC's own goroutine: a
// panic costs the session, not the connector.
func (a *agent) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			a.server.table.End(a.session, session.Lost, fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	f()
}
