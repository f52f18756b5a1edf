package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent/backoff"
	"github.com/dialback/dialback/internal/agent/session"
)

// bindAll keeps every tunnel bound on this attachment, each in a goroutine.
func (a *attachment) bindAll() {
	var first sync.WaitGroup
	for _, t := range a.run.tunnels {
		first.Add(1)
		once := sync.OnceFunc(first.Done)
		a.binders.Go(func() {
			defer once()
			a.keepBound(t, once)
		})
	}
	a.binders.Go(func() {
		first.Wait()
		close(a.settled)
	})
}

// keepBound asks for a tunnel until it stands, and again when it was closed from
// the other side.
func (a *attachment) keepBound(t *tunnel, answered func()) {
	wait := backoff.New(retryBase, retryLimit)
	for {
		err := a.bind(t)
		if err == nil {
			wait.Reset()
			answered()
			err = a.awaitClosed(t)
			t.off(a)
		}
		if a.over() {
			return
		}
		delay := a.refused(t, err, wait)
		answered()
		if backoff.Sleep(a.asking, delay) != nil || a.over() {
			return
		}
	}
}

// over reports whether there is nothing to bind on any more.
func (a *attachment) over() bool {
	return a.asking.Err() != nil || a.session.Err() != nil
}

func (a *attachment) bind(t *tunnel) error {
	ctx, cancel := context.WithTimeoutCause(a.asking, bindTimeout, errNoAnswer)
	defer cancel()
	urls, err := a.session.Bind(ctx, t.request())
	if err != nil {
		return err
	}
	a.online(t, urls)
	return nil
}

func (t *tunnel) request() *agentv1.ReqTunnel {
	req := &agentv1.ReqTunnel{
		TunnelId:   t.id,
		Protocol:   wireProtocol(t.Protocol),
		Options:    t.options.bytes,
		Critical:   t.options.critical,
		ForwardsTo: t.Upstream.String(),
		Pooling:    t.Pooling,
	}
	switch {
	case t.RemotePort != 0:
		req.Name = &agentv1.ReqTunnel_RemotePort{RemotePort: uint32(t.RemotePort)}
	case t.Hostname != "":
		req.Name = &agentv1.ReqTunnel_Hostname{Hostname: t.Hostname}
	case t.Subdomain != "":
		req.Name = &agentv1.ReqTunnel_Subdomain{Subdomain: t.Subdomain}
	}
	return req
}

func wireProtocol(p Protocol) proxyv1.Protocol {
	if p == TCP {
		return proxyv1.Protocol_PROTOCOL_TCP
	}
	return proxyv1.Protocol_PROTOCOL_HTTP
}

// online tells the owner, unless nothing has changed for him: a tunnel that is
// served by one more connector was never away.
func (a *attachment) online(t *tunnel, urls []string) {
	t.mu.Lock()
	t.on[a] = struct{}{}
	same, lost := slices.Equal(t.urls, urls), t.lost || t.waiting
	t.urls, t.lost, t.waiting = urls, false, false
	t.mu.Unlock()
	if !same || lost {
		a.run.emit(TunnelOnline{URLs: urls, ForwardsTo: t.Upstream.String(), Again: same})
	}
}

// off notes that an attachment serves the tunnel no more.
func (t *tunnel) off(a *attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.on, a)
}

// awaitClosed returns when the tunnel has ended, with what that means.
func (a *attachment) awaitClosed(t *tunnel) error {
	select {
	case m := <-a.closed[t.id]:
		return closedError(m.GetReason(), m.GetMessage())
	case <-a.session.Ended():
		return a.session.Err()
	case <-a.asking.Done():
		return context.Cause(a.asking)
	}
}

// closedError gives the reasons of TunnelClosed and GoAway the errors that the
// same refusal would have; nil: ask again.
func closedError(reason agentv1.CloseReason, text string) error {
	switch reason {
	case agentv1.CloseReason_CLOSE_REASON_REVOKED:
		if text == "" {
			return errRevoked
		}
		return errRevoked.WithMessage("%s", text)
	case agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER:
		return errTakenOver
	case agentv1.CloseReason_CLOSE_REASON_DELETED:
		if text == "" {
			return ErrEnded
		}
		return fmt.Errorf("%w: %s", ErrEnded, text)
	default:
		return nil
	}
}

// refused decides what a refusal, or the end of a tunnel, means: the end of the
// agent, of its identity, or a wait, which it returns.
func (a *attachment) refused(t *tunnel, err error, wait *backoff.Backoff) time.Duration {
	r := a.run
	switch {
	case err == nil: // closed from the other side, for no reason of ours
		if urls, gone := t.ended(); gone {
			r.emit(TunnelEnded{URLs: urls})
		}
		return wait.Next(0)
	case takenOver(err):
		a.giveUp(errTakenOver)
		return 0
	case final(err), refusedForGood(err) && t.never():
		r.fatal(err)
		return 0
	}
	if t.mustWait() && !errors.Is(err, errNoAnswer) {
		r.emit(TunnelWaiting{ForwardsTo: t.Upstream.String(), Cause: err})
	}
	if refusedForGood(err) {
		return slowRetry + wait.Next(0)
	}
	return wait.Next(session.RetryAfterOf(err))
}

// ended notes that an attachment's tunnel was closed from the other side; gone:
// no other attachment serves it.
func (t *tunnel) ended() (urls []string, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if gone = len(t.on) == 0; gone {
		t.lost = true
	}
	return t.urls, gone
}

// mustWait notes a refusal for now. It reports whether the owner is to be told:
// nothing serves the tunnel, and he does not know.
func (t *tunnel) mustWait() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	tell := len(t.on) == 0 && !t.waiting
	t.waiting = t.waiting || tell
	return tell
}

// never reports whether the tunnel was never online.
func (t *tunnel) never() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.urls) == 0
}
