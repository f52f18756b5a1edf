package rpc_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
)

func TestDrainLetsCallsFinishAndCutsOffTheRest(t *testing.T) {
	t.Parallel()
	for name, finishes := range map[string]bool{"a call that finishes": true, "one that does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entered, release := make(chan struct{}), make(chan struct{})
			mem := rpc.NewMemory()
			server := rpc.NewServer(rpc.ServerConfig{
				Methods: testkit.Internal([]string{rpc.RoleAnyone}, authv1.TokenService_ServiceDesc),
				Logger:  slog.New(slog.DiscardHandler),
			})
			authv1.RegisterTokenServiceServer(server, &tokens{answer: func(ctx context.Context) error {
				close(entered)
				select {
				case <-release:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}})
			served := make(chan error, 1)
			go func() { served <- server.Serve(mem) }()
			conn, err := rpc.Dial(rpc.ClientConfig{Target: "auth", Dialer: mem.Dial})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			called := make(chan error, 1)
			go func() {
				_, err := authv1.NewTokenServiceClient(conn).ListTokens(ctx, &authv1.ListTokensRequest{})
				called <- err
			}()
			<-entered

			draining, end := context.WithCancel(t.Context())
			drained := make(chan error, 1)
			go func() { drained <- server.Drain(draining) }()
			if finishes {
				defer end()
				close(release)
			} else {
				end()
			}
			if err := <-drained; finishes != (err == nil) || !finishes && !errors.Is(err, context.Canceled) {
				t.Errorf("Drain: %v", err)
			}
			if err := <-called; finishes != (err == nil) {
				t.Errorf("the call: %v", err)
			}
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}
