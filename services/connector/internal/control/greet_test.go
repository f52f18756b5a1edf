package control

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/services/connector/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestASilentAgentIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := awaitAuth(t.Context(), make(chan received))
		if !errors.Is(err, errSilent) || time.Since(begin) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestAnAgentThatGoesBeforeItsAuth(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := awaitAuth(ctx, make(chan received)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The domain's numbers are the contract's.
func TestReasonsAreTheContracts(t *testing.T) {
	t.Parallel()
	for reason, want := range map[session.Reason]agentv1.CloseReason{
		session.Lost:         agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED,
		session.Closed:       agentv1.CloseReason_CLOSE_REASON_CLOSED,
		session.Revoked:      agentv1.CloseReason_CLOSE_REASON_REVOKED,
		session.TakenOver:    agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER,
		session.Deleted:      agentv1.CloseReason_CLOSE_REASON_DELETED,
		session.Shutdown:     agentv1.CloseReason_CLOSE_REASON_SHUTDOWN,
		session.Unresponsive: agentv1.CloseReason_CLOSE_REASON_UNRESPONSIVE,
	} {
		if agentv1.CloseReason(reason) != want {
			t.Errorf("%v is %d, not %d", reason, reason, want)
		}
	}
}

func TestEveryMessageHasATranslation(t *testing.T) {
	t.Parallel()
	for _, m := range []session.Message{
		session.Ping{}, session.Pong{}, session.NewTunnel{}, session.TunnelClosed{}, session.GoAway{}, session.ReqProxy{},
	} {
		if toWire(m, time.Now()).GetMessage() == nil {
			t.Errorf("%T is sent as nothing", m)
		}
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"[https://a.b http://a.b]":           {HTTPPort: 80, HTTPSPort: 443},
		"[https://a.b:7443 http://a.b:7080]": {HTTPPort: 7080, HTTPSPort: 7443},
		"[https://a.b]":                      {HTTPSPort: 443},
		"[http://a.b:443]":                   {HTTPPort: 443},
	} {
		s := &Server{cfg: cfg}
		if got := s.urls(session.Tunnel{Hostname: "a.b"}); fmt.Sprint(got) != want {
			t.Errorf("%+v: %v", cfg, got)
		}
		if got := s.urls(session.Tunnel{Hostname: "@agent+tunnel.a.b", Pool: "a.b"}); fmt.Sprint(got) != want {
			t.Errorf("a member of a pool: %v, want %s", got, want)
		}
	}
	s := &Server{cfg: Config{HTTPPort: 80, HTTPSPort: 443, Domain: "example.com"}}
	if got := s.urls(session.Tunnel{Hostname: "tcp:20017", Port: 20017}); fmt.Sprint(got) != "[tcp://example.com:20017]" {
		t.Errorf("a tcp tunnel: %v", got)
	}
}
