package etcdstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/services/auth/internal/etcdstore"
	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m)) }

var _ identity.Store = (*etcdstore.Store)(nil)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) identity.Store {
		return etcdstore.New(etcdkit.Etcd(t), testkit.Prefix(t))
	})
}

func makeToken(t *testing.T, s *etcdstore.Store, id string) identity.Token {
	t.Helper()
	token := identity.Token{ID: id, AccountID: "team-a", Role: principal.Agent, Created: time.Now().UTC()}
	in := identity.NewTokenIn{Begin: true, Event: identity.Event{Time: token.Created}}
	if _, created, err := s.CreateToken(t.Context(), token, in); err != nil || !created {
		t.Fatalf("CreateToken() = %v, %v", created, err)
	}
	return token
}

func TestSecretsAreNotStored(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	s := etcdstore.New(client, prefix)
	_, authtoken, err := identity.NewTokens(s, time.Now).Create(t.Context(), identity.Caller{Principal: principal.Principal{Account: "default", Role: principal.Admin}}, identity.NewToken{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Kvs) != 4 {
		t.Errorf("%d keys, want the token's and its account's, each with an event", len(all.Kvs))
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(authtoken.Reveal(), "dbt_"), "_")
	for _, kv := range all.Kvs {
		if strings.Contains(string(kv.Value), secret) {
			t.Errorf("%s has the secret", kv.Key)
		}
	}
}

func TestAnAccountBeginsWithItsFirstToken(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	s := etcdstore.New(client, prefix)
	makeToken(t, s, "00000000000000a1")
	makeToken(t, s, "00000000000000a2")
	account, err := client.Get(t.Context(), prefix+"account/team-a")
	if err != nil || len(account.Kvs) != 1 || account.Kvs[0].Version != 1 {
		t.Errorf("the account's record: %v, %v; want it written once", account, err)
	}
}

// An older replica that changes a record must not lose what a newer one put there.
func TestFieldsOfANewerReleaseSurviveAChange(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	s := etcdstore.New(client, prefix)
	makeToken(t, s, "00000000000000a1")
	key := prefix + "token/00000000000000a1"
	edit(t, client, key, func(fields map[string]any) { fields["quota"] = map[string]any{"tunnels": 7} })
	_, err := s.ChangeToken(t.Context(), "00000000000000a1", func(x *identity.Token) (*identity.Event, error) {
		x.Revoked = time.Now()
		return &identity.Event{Time: x.Revoked}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	edit(t, client, key, func(fields map[string]any) {
		quota, _ := fields["quota"].(map[string]any)
		if quota["tunnels"] != 7.0 || fields["revoke_time"] == nil {
			t.Errorf("the record has become %v", fields)
		}
	})
}

// What cannot be read is refused, and whoever lives by it is told to stop.
func TestARecordOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	s := etcdstore.New(client, prefix)
	makeToken(t, s, "00000000000000a1")
	edit(t, client, prefix+"token/00000000000000a1", func(fields map[string]any) { fields["version"] = 2 })
	if token, err := s.Token(t.Context(), "00000000000000a1"); err == nil {
		t.Errorf("read as %+v", token)
	}
	_, err := s.Snapshot(t.Context(), func(c identity.Change) {
		if c.TokenID != "" && !c.Ended {
			t.Errorf("announced as alive: %+v", c)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, client *clientv3.Client, key string, change func(map[string]any)) {
	t.Helper()
	got, err := client.Get(t.Context(), key)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("read %s: %v, %v", key, got, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(got.Kvs[0].Value, &fields); err != nil {
		t.Fatal(err)
	}
	change(fields)
	value, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), key, string(value)); err != nil {
		t.Fatal(err)
	}
}

func TestADeletedTokenHasEnded(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	s := etcdstore.New(client, prefix)
	makeToken(t, s, "00000000000000a1")
	revision, err := s.Snapshot(t.Context(), func(identity.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(t.Context(), prefix+"token/00000000000000a1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = s.Follow(ctx, revision, func(p identity.Progress) {
		for _, c := range p.Changes {
			if c.TokenID != "00000000000000a1" || !c.Ended {
				t.Errorf("announced %+v", c)
			}
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCompactedRevisionsAreTold(t *testing.T) {
	t.Parallel()
	client := etcdkit.EtcdServer(t).Client()
	s := etcdstore.New(client, etcdstore.Prefix)
	makeToken(t, s, "00000000000000a1")
	old, err := s.Snapshot(t.Context(), func(identity.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	makeToken(t, s, "00000000000000a2")
	recent, err := s.Snapshot(t.Context(), func(identity.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), recent); err != nil {
		t.Fatal(err)
	}
	if err := s.Kept(t.Context(), old); !errors.Is(err, identity.ErrCompacted) {
		t.Errorf("Kept(%d) = %v", old, err)
	}
	if err := s.Kept(t.Context(), recent); err != nil {
		t.Errorf("Kept(%d) = %v", recent, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Follow(ctx, old-1, func(identity.Progress) {}); !errors.Is(err, identity.ErrCompacted) {
		t.Errorf("Follow(%d) = %v", old-1, err)
	}
}

func TestWithoutEtcdItIsUnavailable(t *testing.T) {
	t.Parallel()
	server := etcdkit.EtcdServer(t)
	s := etcdstore.New(server.Client(), etcdstore.Prefix)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Token(ctx, "00000000000000a1"); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("Token() = %v", err)
	}
}

// etcd sends a watch that lags what it missed in pieces of 1000 revisions, each
// under a header that is far ahead of it.
func TestALongLagIsToldInOrder(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	s := etcdstore.New(client, prefix)
	makeToken(t, s, "00000000000000a1")
	revision, err := s.Snapshot(t.Context(), func(identity.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	const changes = 2500
	for range changes {
		if _, err := client.Put(t.Context(), prefix+"token/00000000000000a1", `{"version":1}`); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Follow(t, s, revision, changes)
}

// Revisions that are handed out must not grow old because no token ends.
func TestAQuietFeedGoesOn(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	s := etcdstore.New(client, prefix)
	s.AskEvery(10 * time.Millisecond)
	revision, err := s.Snapshot(t.Context(), func(identity.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := client.Put(t.Context(), prefix+"agent/x", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = s.Follow(ctx, revision, func(p identity.Progress) {
		if len(p.Changes) > 0 {
			t.Errorf("announced %v", p.Changes)
		}
		if p.Revision >= elsewhere.Header.Revision {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
