package authkeys

import (
	"context"
	"crypto/ed25519"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
)

// auth is a fake with a fail switch.
type auth struct {
	authv1.CredentialServiceClient
	keys  map[string][]byte
	fail  error
	calls int
}

func (a *auth) GetKeys(context.Context, *authv1.GetKeysRequest, ...grpc.CallOption) (*authv1.GetKeysResponse, error) {
	a.calls++
	if a.fail != nil {
		return nil, a.fail
	}
	return &authv1.GetKeysResponse{AssertionKeys: a.keys}, nil
}

func publicKey(t *testing.T) []byte {
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &auth{keys: map[string][]byte{"1": publicKey(t), "short": {1}}}
		k := &Keys{auth: a}
		want := func(id string, wanted error, calls int) {
			t.Helper()
			key, err := k.AssertionKey(t.Context(), id)
			if !errors.Is(err, wanted) || err == nil && !key.Equal(ed25519.PublicKey(a.keys[id])) || a.calls != calls {
				t.Errorf("key %s: %v, %v after %d calls; want %v after %d", id, key, err, a.calls, wanted, calls)
			}
		}
		want("1", nil, 1)
		want("1", nil, 1)
		// Unknown ids are a stranger's word: no call each.
		want("2", errUnknown, 1)
		<-time.After(pause)
		want("2", errUnknown, 2)
		want("short", errUnknown, 2)
		// A rotation.
		a.keys = map[string][]byte{"2": publicKey(t)}
		<-time.After(pause)
		want("2", nil, 3)
		want("1", errUnknown, 3)
		// Auth is away: what is known counts on, what is not is to be retried.
		a.fail = errors.New("away")
		<-time.After(maxAge)
		want("2", nil, 4)
		<-time.After(pause)
		want("3", errUnreachable, 5)
		// Auth has withdrawn it.
		a.fail, a.keys = nil, map[string][]byte{}
		<-time.After(pause)
		want("2", errUnknown, 6)
	})
}

func TestKeysOfAnAuthThatIsAway(t *testing.T) {
	t.Parallel()
	k := &Keys{auth: &auth{fail: errors.New("away")}}
	for range 2 {
		if _, err := k.AssertionKey(t.Context(), "1"); !errors.Is(err, errUnreachable) {
			t.Errorf("key: %v", err)
		}
	}
}
