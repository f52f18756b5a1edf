package frontdoors_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/connector/internal/frontdoors"
	"github.com/dialback/dialback/services/connector/internal/session"
)

func as(ctx context.Context, account string, role principal.Role) context.Context {
	return principal.With(ctx, principal.Principal{Account: account, Role: role, Actor: "token:t"})
}

// open adds a session with one tunnel.
func open(t *testing.T, table *session.Table, account, agent, hostname string) *session.Session {
	t.Helper()
	s := session.New(session.Identity{Agent: agent, Account: account, Token: "t1", Instance: session.Instance{7}}, "192.0.2.1:5", session.Assertion{}, func(session.Reason) {})
	s.Software = session.Software{Version: "v1", OS: "linux", Arch: "arm64"}
	if err := table.Add(s); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Reserve(s, "tunnel", 0); err != nil || !table.Attach(s, session.Tunnel{ID: "tunnel", Hostname: hostname, Generation: 3}) {
		t.Fatal("no tunnel", err)
	}
	return s
}

func TestUsersSeeTheSessionsOfTheirAccount(t *testing.T) {
	t.Parallel()
	table := session.NewTable(10, func(*session.Session, session.Reason) {})
	service := frontdoors.NewSessions(table, "c1", func(*session.Session, session.Ender) {}, slog.New(slog.DiscardHandler))
	mine, theirs := open(t, table, "acme", "a1", "web.test"), open(t, table, "other", "a2", "api2.test")
	list := func(ctx context.Context, q *connectorv1.ListSessionsRequest) (ids []string) {
		t.Helper()
		answer, err := service.ListSessions(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range answer.GetSessions() {
			ids = append(ids, s.GetId())
		}
		return ids
	}
	reader, admin := as(t.Context(), "acme", principal.ReadOnly), as(t.Context(), "default", principal.Admin)
	if got := list(reader, &connectorv1.ListSessionsRequest{}); len(got) != 1 || got[0] != mine.ID {
		t.Errorf("reader: %v", got)
	}
	if got := list(admin, &connectorv1.ListSessionsRequest{}); len(got) != 2 || got[0] > got[1] {
		t.Errorf("admin: %v", got)
	}
	if got := list(admin, &connectorv1.ListSessionsRequest{AgentId: "a2"}); len(got) != 1 || got[0] != theirs.ID {
		t.Errorf("by agent: %v", got)
	}
	if _, err := service.ListSessions(reader, &connectorv1.ListSessionsRequest{AccountId: "other"}); !errors.Is(err, principal.ErrForeign) {
		t.Errorf("another account by name: %v", err)
	}
	got, err := service.GetSession(reader, &connectorv1.GetSessionRequest{Id: mine.ID})
	s := got.GetSession()
	if err != nil || s.GetConnectorId() != "c1" || s.GetOs() != "linux" || s.GetInstance()[:2] != "07" || s.GetAge().AsDuration() < 0 ||
		s.GetAge().AsDuration() > time.Minute || len(s.GetTunnels()) != 1 || s.GetTunnels()[0].GetHostname() != "web.test" {
		t.Errorf("%v, %v", s, err)
	}
	_, err = service.GetSession(reader, &connectorv1.GetSessionRequest{Id: theirs.ID})
	if e, _ := errs.From(err); e == nil || e.Kind() != errs.NotFound {
		t.Errorf("another account's session: %v", err)
	}
}

func TestAClosedSessionTellsItsAgentToComeBack(t *testing.T) {
	t.Parallel()
	table := session.NewTable(10, func(*session.Session, session.Reason) {})
	var enders []string
	service := frontdoors.NewSessions(table, "c1", func(s *session.Session, by session.Ender) {
		enders = append(enders, s.Agent+" by "+by.Actor+" in "+by.Trace)
	}, slog.New(slog.DiscardHandler))
	s := open(t, table, "acme", "a1", "web.test")
	stranger := as(t.Context(), "other", principal.Operator)
	if _, err := service.CloseSession(stranger, &connectorv1.CloseSessionRequest{Id: s.ID}); err == nil || table.Get(s.ID) == nil {
		t.Fatalf("a stranger closes it: %v", err)
	}
	traced := trace.ContextWithSpanContext(as(t.Context(), "acme", principal.Operator), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}}))
	if _, err := service.CloseSession(traced, &connectorv1.CloseSessionRequest{Id: s.ID}); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	reason, cause := s.End()
	if e, _ := errs.From(cause); reason != session.Deleted || e == nil || e.RetryAfter() == 0 {
		t.Errorf("ended as %v: %v", reason, cause)
	}
	if want := "a1 by token:t in 01" + strings.Repeat("0", 30); len(enders) != 1 || enders[0] != want {
		t.Errorf("ended by %q, want %q", enders, want)
	}
}
