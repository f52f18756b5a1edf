package agent_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestFinalRefusalsOfTheSession(t *testing.T) {
	t.Parallel()
	for reason, want := range map[errs.Reason]agent.Failure{
		errs.ReasonTokenMissing:       agent.FailureToken,
		errs.ReasonTokenInvalid:       agent.FailureToken,
		errs.ReasonTokenRevoked:       agent.FailureToken,
		errs.ReasonTokenExpired:       agent.FailureToken,
		errs.ReasonVersionUnsupported: agent.FailureVersion,
	} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			server := agenttest.New(t)
			server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) {
				tries.Add(1)
				return nil, errs.New(errs.Unauthenticated, reason, "the server's words")
			}
			server.Start()
			err := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")})).wait()
			if agent.Classify(err) != want || !strings.Contains(err.Error(), "the server's words") || tries.Load() != 1 {
				t.Errorf("%v after %d tries", err, tries.Load())
			}
		})
	}
}

// A revocation reaches a running agent by its session, by GoAway or by its tunnel.
func TestARevokedTokenEndsTheAgent(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(*agenttest.Session){
		"its tunnel": func(s *agenttest.Session) {
			s.CloseTunnel(s.Tunnel(), agentv1.CloseReason_CLOSE_REASON_REVOKED)
		},
		"go away": func(s *agenttest.Session) { s.GoAway(agentv1.CloseReason_CLOSE_REASON_REVOKED) },
		"its session": func(s *agenttest.Session) {
			s.End(errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked, "revoked"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := agenttest.New(t)
			server.Start()
			r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
			await[agent.TunnelOnline](r, 1)
			revoke(server.Session(1))
			if err := r.wait(); agent.Classify(err) != agent.FailureToken || !strings.Contains(err.Error(), "revoked") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestAnOperatorsEndIsAnEnd(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	await[agent.TunnelOnline](r, 1)
	session := server.Session(1)
	session.CloseTunnel(session.Tunnel(), agentv1.CloseReason_CLOSE_REASON_DELETED)
	if err := r.wait(); !errors.Is(err, agent.ErrEnded) {
		t.Errorf("ended with %v", err)
	}
}

func TestANameRefusedAtTheStartIsFinal(t *testing.T) {
	t.Parallel()
	for _, reason := range []errs.Reason{errs.ReasonNameTaken, errs.ReasonNameForbidden, errs.ReasonNameInvalid, errs.ReasonNotGranted} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			server := agenttest.New(t)
			server.Bind = func(*agenttest.Session, *agentv1.ReqTunnel) []*agentv1.NewTunnel {
				return agenttest.Refuse(string(reason), "app.localhost is not for you", 0)
			}
			server.Start()
			err := start(t, config(t, server, agent.Tunnel{Subdomain: "app", Upstream: service(t, "x")})).wait()
			if agent.Classify(err) != agent.FailureName || !strings.Contains(err.Error(), "app.localhost is not for you") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// What was ours may be taken while we were away, and become free again.
func TestANameRefusedLaterIsWaitedFor(t *testing.T) {
	t.Parallel()
	var taken atomic.Bool
	server := agenttest.New(t)
	server.Bind = func(_ *agenttest.Session, req *agentv1.ReqTunnel) []*agentv1.NewTunnel {
		if taken.Load() {
			return agenttest.Refuse("NAME_TAKEN", "taken", 0)
		}
		return []*agentv1.NewTunnel{{Url: agenttest.URL(req), Last: true}}
	}
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Subdomain: "app", Upstream: service(t, "x")}))
	await[agent.TunnelOnline](r, 1)
	taken.Store(true)
	server.Session(1).End(nil)
	await[agent.TunnelWaiting](r, 1)
	if err := r.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// The name is with another agent of the account, whose machine may be gone:
// never final, said once.
func TestANameInUseIsRetried(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	server := agenttest.New(t)
	server.Bind = func(_ *agenttest.Session, req *agentv1.ReqTunnel) []*agentv1.NewTunnel {
		if tries.Add(1) < 4 {
			return agenttest.Refuse("NAME_IN_USE", "in use", 0)
		}
		return []*agentv1.NewTunnel{{Url: agenttest.URL(req), Last: true}}
	}
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Subdomain: "app", Upstream: service(t, "x")}))
	await[agent.TunnelOnline](r, 1)
	if waiting := all[agent.TunnelWaiting](r); len(waiting) != 1 {
		t.Errorf("said %d times that it waits, want once", len(waiting))
	}
}

func TestAWrongPinIsFinalAtTheStartAndNothingIsSent(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	c := config(t, server, agent.Tunnel{Upstream: service(t, "x")})
	other := testkit.CA(t).Pin()
	c.Pins = []tlsconf.Pin{other}
	err := start(t, c).wait()
	if agent.Classify(err) != agent.FailureUntrusted || !strings.Contains(err.Error(), other.String()) || !strings.Contains(err.Error(), server.CA.Pin().String()) {
		t.Errorf("ended with %v, want one that names both pins", err)
	}
	c.Pins = nil // the system's authorities do not know this one either
	if err := start(t, c).wait(); agent.Classify(err) != agent.FailureUntrusted {
		t.Errorf("without pins: ended with %v", err)
	}
	if server.Sessions() != 0 {
		t.Error("the token went to a server that is not the configured one")
	}
}

func TestAWrongPinLaterIsRetried(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	stop := server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	await[agent.TunnelOnline](r, 1)
	stop()
	ca := server.CA
	server.CA = testkit.CA(t)
	stop = server.Start()
	testkit.Eventually(t, agenttest.Limit, func() bool {
		tries := all[agent.Retrying](r)
		var pin *tlsconf.PinError
		return len(tries) > 0 && errors.As(tries[len(tries)-1].Cause, &pin)
	}, "a try that meets the wrong authority")
	stop()
	server.CA = ca
	server.Start()
	if again := await[agent.TunnelOnline](r, 2); !again.Again {
		t.Errorf("came back as %+v", again)
	}
}

func TestAServerThatIsAway(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()()
	c := config(t, server, agent.Tunnel{Upstream: service(t, "x")})
	c.FailFast = true
	if err := start(t, c).wait(); agent.Classify(err) != agent.FailureConnect {
		t.Errorf("ended with %v", err)
	}
	c.FailFast = false
	r := start(t, c)
	await[agent.Retrying](r, 2)
	server.Start()
	await[agent.TunnelOnline](r, 1)
}
