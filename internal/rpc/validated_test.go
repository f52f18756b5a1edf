package rpc_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/rpc/validate"
	"github.com/dialback/dialback/internal/testkit"
)

var validatedMethods = testkit.Internal([]string{rpc.RoleAnyone}, connectorv1.SessionService_ServiceDesc, connectorv1.DialbackService_ServiceDesc)

// sessions counts what reaches its methods.
type sessions struct {
	connectorv1.UnimplementedSessionServiceServer
	connectorv1.UnimplementedDialbackServiceServer
	calls chan string
}

func (s *sessions) GetSession(context.Context, *connectorv1.GetSessionRequest) (*connectorv1.GetSessionResponse, error) {
	s.calls <- "unary"
	return &connectorv1.GetSessionResponse{}, nil
}

func (s *sessions) RequestProxy(*connectorv1.RequestProxyRequest, connectorv1.DialbackService_RequestProxyServer) error {
	s.calls <- "stream"
	return nil
}

// refuses finds a fault in every message.
type refuses struct{ err error }

func (r refuses) Validate(proto.Message) error { return r.err }

func validated(t *testing.T, v rpc.Validator) (*sessions, connectorv1.SessionServiceClient, connectorv1.DialbackServiceClient) {
	t.Helper()
	mem := rpc.NewMemory()
	server := rpc.NewServer(rpc.ServerConfig{Methods: validatedMethods, Validator: v, Logger: slog.New(slog.DiscardHandler)})
	s := &sessions{calls: make(chan string, 10)}
	connectorv1.RegisterSessionServiceServer(server, s)
	connectorv1.RegisterDialbackServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(mem) }()
	conn, err := rpc.Dial(rpc.ClientConfig{Target: "connector", Dialer: mem.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, connectorv1.NewSessionServiceClient(conn), connectorv1.NewDialbackServiceClient(conn)
}

func TestARequestThatBreaksItsRulesReachesNoMethod(t *testing.T) {
	t.Parallel()
	s, client, _ := validated(t, validate.New())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := client.GetSession(ctx, &connectorv1.GetSessionRequest{})
	e, ours := errs.From(err)
	if !ours || !errors.Is(err, validate.ErrInvalid) || len(e.Fields()) != 1 || e.Fields()[0].Name != "id" {
		t.Errorf("got %v", err)
	}
	if _, err := client.GetSession(ctx, &connectorv1.GetSessionRequest{Id: "x"}); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if got := len(s.calls); got != 1 {
		t.Errorf("%d calls have reached the method, want 1", got)
	}
}

func TestAStreamsMessagesAreChecked(t *testing.T) {
	t.Parallel()
	want := errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "no")
	s, _, client := validated(t, refuses{want})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := client.RequestProxy(ctx, &connectorv1.RequestProxyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if len(s.calls) != 0 {
		t.Error("the method was called")
	}
}
