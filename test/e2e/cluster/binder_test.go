package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	bindTimeout = 10 * time.Second
	bindPause   = 50 * time.Millisecond
)

// binder is an agent that binds one name after the other, which others want too. It
// serves none of them.
type binder struct {
	t       *testing.T
	c       *Cluster
	account string
	auth    *agentv1.Auth
	pin     tlsconf.Pin
	stop    context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex
	session  *session.Session
	owns     map[string]bool // by name: it was told that it is the owner, or not
	postpone int             // refusals for now
}

// startBinder binds names in the same order as others do.
func startBinder(t *testing.T, c *Cluster, account string) *binder {
	t.Helper()
	created := newToken(t, c, "--account", account)
	pin, err := tlsconf.ParsePin(created.Pins[0])
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	b := &binder{
		t: t, c: c, account: account, pin: pin, stop: stop, done: make(chan struct{}), owns: map[string]bool{},
		auth: &agentv1.Auth{AgentVersion: "test", Authtoken: created.Authtoken, Instance: randomBytes()},
	}
	go b.run(ctx)
	t.Cleanup(b.end)
	return b
}

type newTokenJSON struct {
	Token struct {
		ID string `json:"id"`
	}
	Authtoken string
	APIKey    string `json:"api_key"`
	Pins      []string
}

func newToken(t *testing.T, c *Cluster, args ...string) (created newTokenJSON) {
	t.Helper()
	text, err := c.Ctl(t.Context(), append([]string{"token", "create", "--output", "json"}, args...)...)
	must(t, err)
	must(t, json.Unmarshal([]byte(text), &created))
	return created
}

func randomBytes() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return b
}

func (b *binder) end() {
	b.stop()
	<-b.done
}

func (b *binder) run(ctx context.Context) {
	defer close(b.done)
	for n := 0; ctx.Err() == nil; n++ {
		b.bindUntilAnswered(ctx, fmt.Sprintf("bind-%d.%s", n, Domain))
	}
	if b.session != nil {
		b.session.Close()
	}
}

// bindUntilAnswered asks for a name until somebody says whose it is. Whatever else
// it is told must be something to retry.
func (b *binder) bindUntilAnswered(ctx context.Context, name string) {
	req := &agentv1.ReqTunnel{
		TunnelId: hex.EncodeToString(randomBytes()), Protocol: proxyv1.Protocol_PROTOCOL_HTTP,
		Name: &agentv1.ReqTunnel_Hostname{Hostname: name},
	}
	for ctx.Err() == nil {
		err := b.bind(ctx, req)
		_, refused := errs.From(err)
		switch reason := session.ReasonOf(err); {
		case err == nil, reason == errs.ReasonNameTaken:
			b.mu.Lock()
			b.owns[name] = err == nil
			b.mu.Unlock()
			pause(ctx, bindPause)
			return
		case refused && reason != errs.ReasonUnavailable && reason != errs.ReasonOverloaded:
			b.t.Errorf("bind %s: %s: %v", name, reason, err)
			return
		}
		b.mu.Lock()
		b.postpone++
		b.mu.Unlock()
		pause(ctx, bindPause)
	}
}

func (b *binder) bind(ctx context.Context, req *agentv1.ReqTunnel) error {
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	if b.session == nil || b.session.Err() != nil {
		to := session.Target{Address: b.c.TLS, ServerName: "control." + Domain, Pins: []tlsconf.Pin{b.pin}}
		s, err := session.Open(ctx, to, b.auth, session.Deaf{})
		if err != nil {
			return err
		}
		b.session, b.auth.AgentId = s, s.Welcome.GetAgentId()
		if fresh := s.Welcome.GetResumeToken(); fresh != "" {
			b.auth.ResumeToken = fresh
		}
	}
	_, err := b.session.Bind(ctx, req)
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// counts returns about how many names it was told, and how often it was told to
// come again.
func (b *binder) counts() (answers, postponed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.owns), b.postpone
}

// more waits until n more names have their owner.
func (b *binder) more(t *testing.T, n int) {
	t.Helper()
	before, _ := b.counts()
	must(t, until(t.Context(), b.account+" binds", func(context.Context) error {
		if now, _ := b.counts(); now < before+n {
			return fmt.Errorf("%d of %d names", now-before, n)
		}
		return nil
	}))
}
