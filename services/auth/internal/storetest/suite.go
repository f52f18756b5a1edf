package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// limit bounds every wait: it is for busy machines, not a figure to assert.
const limit = 30 * time.Second

// now is a moment that every store keeps exactly.
var now = time.Date(2026, 11, 22, 21, 38, 0, 123456789, time.UTC)

// Run holds a store to the contract of identity.Store. open returns an empty one.
func Run(t *testing.T, open func(t *testing.T) identity.Store) {
	for name, test := range map[string]func(*testing.T, identity.Store){
		"a token is kept as it was":                 tokenIsKept,
		"an id is given once":                       idsAreGivenOnce,
		"lists are paged by id and account":         listsArePaged,
		"a change is written with its event":        changeHasEvent,
		"what is emptied is empty":                  emptiedIsEmpty,
		"racing changes all count":                  changesAllCount,
		"a deleted token is gone":                   deletedIsGone,
		"an account begins with its first token":    accountBegins,
		"an account is made once":                   accountIsMadeOnce,
		"an account that is being deleted is shut":  deletingIsShut,
		"accounts are paged by id":                  accountsArePaged,
		"uses are kept":                             usesAreKept,
		"agents keep their account":                 agentsKeepAccount,
		"an agent that is seen is not forgotten":    seenAreNotForgotten,
		"racing agents never are more than allowed": liveIsBounded,
		"the first keys stand":                      firstKeysStand,
		"the history is told in pieces":             historyInPieces,
		"what was trimmed is missed":                trimmedIsMissed,
		"a snapshot and what follows are all":       snapshotAndFollow,
		"unknown revisions are compacted":           unknownRevisions,
		"a quiet feed ends with its context":        followEnds,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func token(n int) identity.Token {
	return identity.Token{
		ID: fmt.Sprintf("%016x", n), AccountID: "team-a", Role: principal.Agent, Description: "grüße", Grants: []string{"bind:a.example.com"},
		Hash: [32]byte{byte(n), 31: 1}, Created: now, Expires: now.Add(time.Hour),
	}
}

// coming begins the token's account.
func coming(x identity.Token) identity.NewTokenIn {
	return identity.NewTokenIn{Begin: true, Event: event(identity.Created, x.ID)}
}

// happened is about when events are from: a store may count on its clock. Each is
// from a later moment.
var (
	happened = time.Now().UTC().Truncate(time.Second)
	moments  atomic.Int64
)

func event(action identity.Action, name string) identity.Event {
	return identity.Event{
		Time: happened.Add(time.Duration(moments.Add(1)) * time.Microsecond), Action: action, Kind: "token", Name: name, Account: "team-a", Actor: "admin:ops", Address: "192.0.2.1:4000",
		Details: map[string]string{"changed": "grüße"},
	}
}

func create(t *testing.T, s identity.Store, tokens ...identity.Token) {
	t.Helper()
	for _, x := range tokens {
		if _, created, err := s.CreateToken(bounded(t), x, coming(x)); err != nil || !created {
			t.Fatalf("CreateToken(%s) = %v, %v", x.ID, created, err)
		}
	}
}

func same(a, b identity.Token) bool {
	return a.ID == b.ID && a.AccountID == b.AccountID && a.Kind == b.Kind && a.Role == b.Role && a.Subject == b.Subject && a.Description == b.Description && slices.Equal(a.Grants, b.Grants) &&
		a.Hash == b.Hash && a.Previous == b.Previous && a.PreviousUntil.Equal(b.PreviousUntil) && a.Created.Equal(b.Created) && a.Expires.Equal(b.Expires) && a.Revoked.Equal(b.Revoked) && a.Lapsed == b.Lapsed
}

func tokenIsKept(t *testing.T, s identity.Store) {
	key, person := token(3), token(4)
	key.Kind, key.Role, key.Grants = identity.APIKey, principal.Admin, nil
	person.Kind, person.Role, person.Subject = identity.UserKey, principal.ReadOnly, "alice@example.com"
	rotated := token(5)
	rotated.Previous, rotated.PreviousUntil = [32]byte{9}, now.Add(time.Minute)
	for _, want := range []identity.Token{token(1), key, person, rotated} {
		create(t, s, want)
		if got, err := s.Token(bounded(t), want.ID); err != nil || !same(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := s.Token(bounded(t), token(2).ID); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("a token that is not there: %v", err)
	}
}

func idsAreGivenOnce(t *testing.T, s identity.Store) {
	create(t, s, token(1))
	other := token(1)
	other.AccountID = "team-b"
	if _, created, err := s.CreateToken(bounded(t), other, coming(other)); created || err != nil {
		t.Errorf("the second one of an id: %v, %v", created, err)
	}
	if got, err := s.Token(bounded(t), other.ID); err != nil || got.AccountID != "team-a" {
		t.Errorf("the first one has become %+v, %v", got, err)
	}
}

func listsArePaged(t *testing.T, s identity.Store) {
	for n := range 6 {
		x := token(n)
		if n%2 == 1 {
			x.AccountID = "team-b"
		}
		create(t, s, x)
	}
	for _, test := range []struct {
		account, after string
		limit          int
		want           []int
	}{
		{"", "", 10, []int{0, 1, 2, 3, 4, 5}},
		{"", "", 4, []int{0, 1, 2, 3}},
		{"", token(3).ID, 10, []int{4, 5}},
		{"team-b", "", 2, []int{1, 3}},
		{"team-b", token(3).ID, 2, []int{5}},
		{"team-c", "", 2, nil},
		{"", token(5).ID, 2, nil},
	} {
		got, err := s.Tokens(bounded(t), test.account, test.after, test.limit)
		if err != nil || !slices.EqualFunc(got, test.want, func(x identity.Token, n int) bool { return x.ID == token(n).ID }) {
			t.Errorf("Tokens(%q, %q, %d) = %v, %v; want %v", test.account, test.after, test.limit, got, err, test.want)
		}
	}
}

func agentsKeepAccount(t *testing.T, s identity.Store) {
	a := identity.Agent{ID: "00112233445566778899aabbccddeeff", AccountID: "team-a", ResumeHash: [32]byte{7}, Created: now}
	results := make(chan bool, 4)
	var racers sync.WaitGroup
	for range cap(results) {
		racers.Go(func() {
			created, err := s.CreateAgent(bounded(t), a)
			if err != nil {
				t.Error(err)
			}
			results <- created
		})
	}
	racers.Wait()
	close(results)
	winners := 0
	for created := range results {
		if created {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d callers created the same agent", winners)
	}
	stranger := a
	stranger.AccountID = "team-b"
	if created, err := s.CreateAgent(bounded(t), stranger); created || err != nil {
		t.Errorf("another account took the id: %v, %v", created, err)
	}
	got, found, err := s.Agent(bounded(t), a.ID)
	if err != nil || !found || got.AccountID != "team-a" || got.ResumeHash != a.ResumeHash || !got.Created.Equal(now) {
		t.Errorf("kept %+v, %v, %v", got, found, err)
	}
	if _, found, err := s.Agent(bounded(t), "ffffffffffffffffffffffffffffffff"); found || err != nil {
		t.Errorf("one that is not there: %v, %v", found, err)
	}
}

func firstKeysStand(t *testing.T, s identity.Store) {
	keys := make([]identity.Keys, 8)
	var replicas sync.WaitGroup
	for i := range keys {
		replicas.Go(func() {
			var err error
			if keys[i], err = s.Keys(bounded(t), identity.NewKeys(now)); err != nil {
				t.Error(err)
			}
		})
	}
	replicas.Wait()
	for _, k := range keys {
		if !k.Signing.Equal(keys[0].Signing) || k.TraceMAC != keys[0].TraceMAC || !k.Created.Equal(keys[0].Created) {
			t.Fatal("replicas that start together have different keys")
		}
	}
}
