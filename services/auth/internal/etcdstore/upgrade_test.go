package etcdstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/services/auth/internal/etcdstore"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// The bytes in testdata were written by releases before this one.
func TestRecordsOfEarlierReleasesAreRead(t *testing.T) {
	t.Parallel()
	client, prefix := etcdkit.Etcd(t), testkit.Prefix(t)
	for key, file := range map[string]string{
		"token/whole": "token", "token/plain": "token-plain", "token/revoked": "token-revoked", "token/lapsed": "token-lapsed",
		"account/team-a": "account", "agent/00112233445566778899aabbccddeeff": "agent", "keys": "keys",
	} {
		value, err := os.ReadFile(filepath.Join("testdata", "v1", file+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), prefix+key, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	s := etcdstore.New(client, prefix)
	created := time.Date(2026, 11, 22, 21, 38, 0, 123456789, time.UTC)
	for id, want := range map[string]struct {
		grants         int
		expires, ended bool
	}{
		"whole": {2, true, false}, "plain": {0, false, false}, "revoked": {0, false, true}, "lapsed": {2, true, true},
	} {
		got, err := s.Token(t.Context(), id)
		if err != nil || got.AccountID != "team-a" || got.Kind != identity.AgentToken || got.Role != principal.Agent ||
			got.Hash != [32]byte{1, 2, 3, 31: 9} || !got.Created.Equal(created) || len(got.Grants) != want.grants ||
			got.Expires.IsZero() == want.expires || got.Ended() != want.ended {
			t.Errorf("token %s is read as %+v, %v", id, got, err)
		}
	}
	agent, found, err := s.Agent(t.Context(), "00112233445566778899aabbccddeeff")
	if err != nil || !found || agent.AccountID != "team-a" || agent.ResumeHash != [32]byte{7} || !agent.Created.Equal(created) {
		t.Errorf("the agent is read as %+v, %v, %v", agent, found, err)
	}
	if keys, err := s.Keys(t.Context(), identity.NewKeys(time.Now())); err != nil || !keys.Created.Equal(created) {
		t.Errorf("other keys stand than those of before: %v", err)
	}
}
