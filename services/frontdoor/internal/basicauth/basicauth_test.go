package basicauth_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/basicauth"
)

func users(t *testing.T, passwords map[string]string) (list []basicauth.User) {
	t.Helper()
	for name, password := range passwords {
		salt := []byte("salt of " + name + "...")
		hash, err := pbkdf2.Key(sha256.New, password, salt, 100_000, 32)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, basicauth.User{Name: name, Salt: salt, Hash: hash})
	}
	return list
}

func TestWhoMayPass(t *testing.T) {
	t.Parallel()
	list := users(t, map[string]string{"ann": "a", "bob": "b"})
	c := basicauth.New(time.Now)
	for _, q := range []struct {
		name, password string
		ok             bool
	}{
		{"ann", "a", true}, {"bob", "b", true}, {"ann", "b", false}, {"Ann", "a", false},
		{"", "", false}, {"carl", "a", false}, {"ann", "a", true},
	} {
		err := c.Check(t.Context(), basicauth.Endpoint{Hostname: "h"}, list, basicauth.Attempt{Name: q.name, Password: q.password, Address: "192.0.2.1"})
		if q.ok != (err == nil) || err != nil && !errors.Is(err, basicauth.ErrRequired) {
			t.Errorf("%s:%s: %v", q.name, q.password, err)
		}
	}
	if err := c.Check(t.Context(), basicauth.Endpoint{}, nil, basicauth.Attempt{}); err == nil {
		t.Error("nobody is listed, somebody passed")
	}
}

// A good answer is remembered for these passwords alone.
func TestARememberedAnswerIsTheRevisions(t *testing.T) {
	t.Parallel()
	c := basicauth.New(time.Now)
	old, now := users(t, map[string]string{"ann": "old"}), users(t, map[string]string{"ann": "new"})
	e := basicauth.Endpoint{Hostname: "h", Revision: 1}
	a := basicauth.Attempt{Name: "ann", Password: "old", Address: "192.0.2.1"}
	if err := c.Check(t.Context(), e, old, a); err != nil {
		t.Fatal(err)
	}
	for _, next := range []basicauth.Endpoint{{Hostname: "h", Revision: 2}, {Hostname: "other", Revision: 1}, {Hostname: "h", Revision: 1, Generation: 1}} {
		if err := c.Check(t.Context(), next, now, a); err == nil {
			t.Errorf("%+v takes the old password", next)
		}
	}
	// Two fields that run into each other are not the same attempt.
	if err := c.Check(t.Context(), e, now, basicauth.Attempt{Name: "anno", Password: "ld", Address: "192.0.2.1"}); err == nil {
		t.Error("anno:ld passed as ann:old")
	}
}

func TestGuessingIsSlowedDownForTheGuesserAlone(t *testing.T) {
	t.Parallel()
	// A check takes no time in here, however slow the machine is.
	synctest.Test(t, guess)
}

func guess(t *testing.T) {
	c := basicauth.New(time.Now)
	list := users(t, map[string]string{"ann": "a"})
	check := func(password, address string) error {
		return c.Check(t.Context(), basicauth.Endpoint{Hostname: "h"}, list, basicauth.Attempt{Name: "ann", Password: password, Address: address})
	}
	var err error
	for range 20 {
		if err = check("wrong", "192.0.2.1"); errors.Is(err, basicauth.ErrLimited) {
			break
		}
	}
	if !errors.Is(err, basicauth.ErrLimited) {
		t.Fatalf("20 guesses: %v", err)
	}
	if err := check("a", "192.0.2.1"); !errors.Is(err, basicauth.ErrLimited) {
		t.Errorf("the guesser guessed right: %v", err)
	}
	if err := check("a", "192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
}

// A crowd of wrong passwords keeps the machine no busier than the bound, and
// those who give up leave no trace.
func TestChecksAreBounded(t *testing.T) {
	t.Parallel()
	c := basicauth.New(time.Now)
	list := users(t, map[string]string{"ann": "a"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var crowd sync.WaitGroup
	var mu sync.Mutex
	limited := 0
	for i := range 200 {
		crowd.Go(func() {
			err := c.Check(ctx, basicauth.Endpoint{Hostname: "h"}, list, basicauth.Attempt{Name: "ann", Password: "x", Address: string(rune('a' + i))})
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, basicauth.ErrLimited) {
				limited++
			}
		})
	}
	crowd.Wait()
	if limited == 0 {
		t.Error("200 checks at once, and none was turned away")
	}
	if err := c.Check(t.Context(), basicauth.Endpoint{Hostname: "h"}, list, basicauth.Attempt{Name: "ann", Password: "a", Address: "z"}); err != nil {
		t.Errorf("after the crowd: %v", err)
	}
}
