package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent/backoff"
	"github.com/dialback/dialback/internal/agent/dialer"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/agent/spans"
	"github.com/dialback/dialback/internal/agent/state"
	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/rpc"
)

// run is one Run of an Agent.
type run struct {
	*Agent
	slot     *state.Slot
	instance [16]byte
	spans    *spans.Recorder
	forward  *forward.Forwarder
	dialer   *dialer.Dialer
	tunnels  []*tunnel
	fatal    context.CancelCauseFunc

	// The rest belongs to the goroutine of run.
	wait    *backoff.Backoff
	current *attachment // nil: none
	leaving *attachment // told to go; still serving until current has its tunnels
	others  []string    // server names of connectors to attach to first
	worked  bool        // there was a session
}

func (r *run) run(ctx context.Context) error {
	life, fatal := context.WithCancelCause(ctx)
	defer fatal(nil)
	r.fatal = fatal
	r.wait = backoff.New(retryBase, retryLimit)
	err := r.keepAttached(life)
	if ctx.Err() != nil && r.current != nil {
		r.emit(Stopping{})
		r.closeTunnels()
	}
	r.stop(ctx.Err() != nil)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// keepAttached returns when ctx ends, with its cause, or with an error that is
// final.
func (r *run) keepAttached(ctx context.Context) error {
	for ctx.Err() == nil {
		a, err := r.attach(ctx, r.nextName())
		if err != nil {
			if err := r.failed(ctx, err); err != nil {
				return err
			}
			continue
		}
		r.settle(ctx, a)
		err = r.hold(ctx)
		if ctx.Err() != nil {
			break
		}
		if err := r.lost(ctx, err); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// nextName is whom to ask for: a particular connector if the last one named
// others, else whichever the server gives.
func (r *run) nextName() string {
	control := "control." + r.config.Domain
	if len(r.others) == 0 {
		return control
	}
	name := r.others[0] + "." + control
	r.others = r.others[1:]
	return name
}

// failed decides what a failed try means. It waits before the next one.
func (r *run) failed(ctx context.Context, err error) error {
	var connect *session.ConnectError
	first := !r.worked
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case takenOver(err):
		return r.startAnew()
	case final(err):
		return err
	case first && untrusted(err):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case first && r.config.FailFast && (errors.As(err, &connect) || errors.Is(err, rpc.ErrUnavailable)):
		return fmt.Errorf("%w: %w", ErrCannotConnect, err)
	}
	delay := r.wait.Next(session.RetryAfterOf(err))
	r.markLost()
	r.emit(Retrying{Cause: err, In: delay})
	_ = backoff.Sleep(ctx, delay)
	return nil
}

// markLost has the tunnels' return announced.
func (r *run) markLost() {
	for _, t := range r.tunnels {
		t.mu.Lock()
		t.lost = len(t.urls) > 0
		t.mu.Unlock()
	}
}

// settle makes a new attachment the current one. The one that was told to go is
// left only when the tunnels stand on the new one.
func (r *run) settle(ctx context.Context, a *attachment) {
	r.current, r.worked, r.others = a, true, nil
	if r.leaving == nil {
		r.emit(Connected{Connector: a.session.Welcome.GetConnectorId(), Banner: a.session.Welcome.GetBanner()})
		return
	}
	timer := time.NewTimer(settleLimit)
	defer timer.Stop()
	select {
	case <-a.settled:
	case <-timer.C:
	case <-a.session.Ended():
		return // the old one is all that there is
	case <-ctx.Done():
		return // closeTunnels needs both
	}
	r.leaving.close()
	r.leaving = nil
}

// hold returns when the current attachment is no more, with the reason.
func (r *run) hold(ctx context.Context) error {
	a := r.current
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.session.Ended():
		return a.session.Err()
	case <-a.asking.Done():
		return context.Cause(a.asking)
	case m := <-a.away:
		if err := closedError(m.GetReason(), m.GetMessage()); err != nil {
			return err
		}
		r.others = serverNames(a.session.Welcome.GetOtherConnectors())
		spread := min(max(m.GetSpread().AsDuration(), 0), maxSpread)
		r.log.DebugContext(ctx, "the server asks to attach elsewhere", "reason", m.GetReason(), "spread", spread)
		a.giveUp(errLeaving)
		if spread > 0 {
			_ = backoff.Sleep(ctx, rand.N(spread)) //nolint:gosec // jitter, no secret
		}
		return errLeaving
	}
}

// lost decides what the end of the current attachment means.
func (r *run) lost(ctx context.Context, err error) error {
	a := r.current
	r.current = nil
	if errors.Is(err, errLeaving) {
		if r.leaving != nil {
			r.leaving.close()
		}
		r.leaving = a
		return nil
	}
	lasted := a.session.Age()
	a.close()
	r.markLost()
	switch {
	case takenOver(err):
		return r.startAnew()
	case final(err):
		return err
	}
	delay := session.RetryAfterOf(err) + rand.N(lostJitter) //nolint:gosec // jitter, no secret
	if lasted >= workedFor {
		r.wait.Reset()
	} else {
		delay = r.wait.Next(session.RetryAfterOf(err))
	}
	r.emit(Retrying{Cause: err, In: delay, Lost: true})
	_ = backoff.Sleep(ctx, delay)
	return nil
}

// startAnew drops the identity that another process uses, a copy of this machine
// for instance, and is never used by this one again: the two would take each
// other's names for ever.
func (r *run) startAnew() error {
	r.emit(TakenOver{})
	if r.leaving != nil {
		r.leaving.close()
		r.leaving = nil
	}
	if err := r.slot.Forget(); err != nil {
		return fmt.Errorf("drop the identity that another process uses: %w", err)
	}
	r.register()
	return nil
}

// auth introduces this process.
func (r *run) auth() *agentv1.Auth {
	identity := r.slot.Identity()
	return &agentv1.Auth{
		AgentVersion:        r.config.Version,
		Os:                  runtime.GOOS,
		Arch:                runtime.GOARCH,
		Authtoken:           r.config.Authtoken.Reveal(),
		AgentId:             identity.AgentID,
		ResumeToken:         identity.ResumeToken,
		Instance:            r.instance[:],
		MaxProxyConnections: uint32(r.config.MaxConnections), // #nosec G115 -- far below
	}
}

// adopt keeps the identity that the server gave. The token comes when it is new.
func (r *run) adopt(welcome *agentv1.AuthResp) {
	identity := r.slot.Identity()
	if welcome.GetResumeToken() != "" {
		identity.ResumeToken = welcome.GetResumeToken()
	} else if identity.AgentID != welcome.GetAgentId() {
		return // an id that nothing will prove is not worth keeping
	}
	identity.AgentID = welcome.GetAgentId()
	if err := r.slot.SetIdentity(identity); err != nil {
		r.emit(Notice{Text: fmt.Sprintf("the state file cannot be written: %v", err)})
	}
}

// closeTunnels gives the names back and serves those visitors whose frontdoor
// does not know yet.
func (r *run) closeTunnels() {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var tasks sync.WaitGroup
	for _, a := range []*attachment{r.current, r.leaving} {
		if a == nil {
			continue
		}
		a.giveUp(session.ErrClosed)
		a.binders.Wait()
		for _, t := range r.tunnels {
			tasks.Go(func() { a.closeTunnel(ctx, t.id) })
		}
	}
	tasks.Wait()
	_ = backoff.Sleep(context.Background(), linger-time.Since(began))
}

func (a *attachment) closeTunnel(ctx context.Context, id string) {
	if a.session.CloseTunnel(ctx, id) != nil {
		return
	}
	select {
	case <-a.closed[id]:
	case <-a.session.Ended():
	case <-ctx.Done():
	}
}

// stop ends everything; orderly: visitors who are there may finish.
func (r *run) stop(orderly bool) {
	limit := finishLimit
	if !orderly {
		limit = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r.dialer.Stop(ctx)
	// The spans travel on a session: they go first.
	flush, cancelFlush := context.WithTimeout(context.Background(), flushLimit)
	defer cancelFlush()
	if err := r.spans.Shutdown(flush); err != nil {
		r.log.Debug("the last spans are lost", "error", err)
	}
	for _, a := range []*attachment{r.current, r.leaving} {
		if a != nil {
			a.close()
		}
	}
}

// serverNames makes labels of connectors' ids, in random order.
func serverNames(ids []string) []string {
	const maxOthers = 16
	var names []string
	for _, id := range ids[:min(len(ids), maxOthers)] {
		if label, err := hostname.Label(id); err == nil {
			names = append(names, label)
		}
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) //nolint:gosec // spreads load, no secret
	return names
}
