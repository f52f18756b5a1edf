// Package authclient gets from auth what a frontdoor needs of it.
package authclient

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
)

const (
	retry   = time.Second
	refresh = 5 * time.Minute
	timeout = 5 * time.Second
)

// TraceKey is the key of trace MACs, which only the cluster has.
type TraceKey struct {
	client authv1.CredentialServiceClient
	log    *slog.Logger
	key    atomic.Pointer[[]byte]
}

// NewTraceKey returns a key that Run fetches.
func NewTraceKey(conn grpc.ClientConnInterface, log *slog.Logger) *TraceKey {
	return &TraceKey{client: authv1.NewCredentialServiceClient(conn), log: log}
}

// Get returns the key, nil while there is none: visitors are served without it,
// and agents' spans are dropped.
func (k *TraceKey) Get() []byte {
	if key := k.key.Load(); key != nil {
		return *key
	}
	return nil
}

// Run fetches the key, and now and then again, until ctx ends.
func (k *TraceKey) Run(ctx context.Context) error {
	for {
		wait := refresh
		if err := k.fetch(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("auth does not give the key of trace MACs", "error", err)
			wait = retry
		}
		timer := time.NewTimer(wait/2 + time.Duration(rand.Int64N(int64(wait)))) // #nosec G404 -- jitter
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (k *TraceKey) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	keys, err := k.client.GetKeys(ctx, &authv1.GetKeysRequest{})
	if err != nil {
		return err
	}
	key := keys.GetTraceMacKey()
	k.key.Store(&key)
	return nil
}
