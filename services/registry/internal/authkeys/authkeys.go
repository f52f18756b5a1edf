// Package authkeys fetches the public keys of auth's assertions.
package authkeys

import (
	"context"
	"crypto/ed25519"
	"sync"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
)

const (
	// fetchTimeout bounds a call to auth.
	fetchTimeout = 5 * time.Second
	// pause is the least time between two calls: key ids are a stranger's word,
	// and each unknown one would be a call.
	pause = time.Second
	// maxAge is how long a key counts that auth has perhaps withdrawn.
	maxAge = 5 * time.Minute
)

var (
	errUnknown = errs.New(errs.Unauthenticated, errs.ReasonPermissionDenied,
		"the assertion is signed with a key that auth does not have; validate the session again")
	errUnreachable = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"auth cannot be reached for its keys; retry").WithRetry(time.Second)
)

// Keys are auth's keys, fetched when an unknown one is asked for.
type Keys struct {
	auth authv1.CredentialServiceClient

	mu      sync.Mutex
	keys    map[string]ed25519.PublicKey
	tried   time.Time
	fetched time.Time
}

// New returns keys that are fetched from auth when they are needed.
func New(conn grpc.ClientConnInterface) *Keys {
	return &Keys{auth: authv1.NewCredentialServiceClient(conn)}
}

// AssertionKey returns the key with an id.
func (k *Keys) AssertionKey(ctx context.Context, id string) (ed25519.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, known := k.keys[id]
	if known && time.Since(k.fetched) < maxAge {
		return key, nil
	}
	var err error
	if time.Since(k.tried) >= pause {
		k.tried = time.Now()
		if err = k.fetch(ctx); err == nil {
			key, known = k.keys[id]
		}
	}
	switch {
	case known: // even if auth is away: its sessions go on
		return key, nil
	case err != nil || k.fetched.IsZero():
		return nil, errUnreachable.WithCause(err)
	}
	return nil, errUnknown
}

func (k *Keys) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	resp, err := k.auth.GetKeys(ctx, &authv1.GetKeysRequest{})
	if err != nil {
		return err
	}
	keys := make(map[string]ed25519.PublicKey, len(resp.GetAssertionKeys()))
	for id, key := range resp.GetAssertionKeys() {
		if len(key) == ed25519.PublicKeySize {
			keys[id] = ed25519.PublicKey(key)
		}
	}
	k.keys, k.fetched = keys, time.Now()
	return nil
}
