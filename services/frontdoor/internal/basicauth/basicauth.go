// Package basicauth checks the user and password that an endpoint asks of its
// visitors. The slow hash makes each check dear, so that good answers are
// remembered, checks at the same time are bounded, and guessing is slowed down.
package basicauth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dialback/dialback/internal/errs"
)

const (
	iterations  = 100_000
	hashLen     = 32
	maxUsers    = 16
	remembered  = 4096
	rememberFor = 10 * time.Minute
	maxWaiting  = 64 // checks under way or waiting for their turn

	failureBurst = 10
	failuresASec = 0.5 // per visitor's address and endpoint
	maxFailing   = 10_000
)

// What a check can end with.
var (
	ErrRequired = errs.New(errs.Unauthenticated, errs.ReasonAuthRequired,
		"this endpoint asks for a user name and a password")
	ErrLimited = errs.New(errs.ResourceExhausted, errs.ReasonRateLimited,
		"too many attempts with a wrong user name or password").WithRetry(5 * time.Second)
)

// User is one who may pass.
type User struct {
	Name string
	Salt []byte
	Hash []byte // PBKDF2-HMAC-SHA-256 of the password
}

// Endpoint is whose users they are. Another revision has other passwords.
type Endpoint struct {
	Hostname             string
	Generation, Revision uint64
}

// Attempt is what a visitor presents.
type Attempt struct {
	Name, Password string
	Address        string // the visitor's, without port
}

type digest [sha256.Size]byte

// Checker remembers what it has checked. What it keeps tells nobody a password:
// it is hashed under a key that is drawn at each start.
type Checker struct {
	key   [32]byte
	now   func() time.Time
	turns chan struct{} // the checks under way

	mu      sync.Mutex
	waiting int
	good    map[digest]time.Time // until when
	failing map[string]*rate.Limiter
}

// New returns a checker that goes by this clock.
func New(now func() time.Time) *Checker {
	c := &Checker{
		now:   now,
		turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		good:  map[digest]time.Time{}, failing: map[string]*rate.Limiter{},
	}
	_, _ = rand.Read(c.key[:]) // it never fails
	return c
}

// Check returns nil if the attempt is one of the users, else ErrRequired or
// ErrLimited, or ctx's error.
func (c *Checker) Check(ctx context.Context, e Endpoint, users []User, a Attempt) error {
	seal := c.seal(e, a)
	if c.known(seal) {
		return nil
	}
	source := e.Hostname + " " + a.Address
	if c.exhausted(source) {
		return ErrLimited
	}
	leave, err := c.enter(ctx)
	if err != nil {
		return err
	}
	ok := matches(users, a)
	leave()
	if !ok {
		c.failed(source)
		return ErrRequired
	}
	c.remember(seal)
	return nil
}

// matches takes as long for a name that nobody has as for a wrong password.
func matches(users []User, a Attempt) bool {
	if len(users) == 0 || len(users) > maxUsers {
		return false
	}
	user, found := users[0], false
	for _, u := range users {
		if subtle.ConstantTimeCompare([]byte(u.Name), []byte(a.Name)) == 1 {
			user, found = u, true
		}
	}
	hash, err := pbkdf2.Key(sha256.New, a.Password, user.Salt, iterations, hashLen)
	return err == nil && subtle.ConstantTimeCompare(hash, user.Hash) == 1 && found
}

func (c *Checker) seal(e Endpoint, a Attempt) digest {
	mac := hmac.New(sha256.New, c.key[:])
	for _, s := range []string{e.Hostname, a.Name, a.Password} {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(s)))
		_, _ = mac.Write([]byte(s))
	}
	_ = binary.Write(mac, binary.BigEndian, [2]uint64{e.Generation, e.Revision})
	return digest(mac.Sum(nil))
}

func (c *Checker) known(d digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Before(c.good[d])
}

func (c *Checker) remember(d digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.good) >= remembered {
		clear(c.good) // rare; each is checked once more
	}
	c.good[d] = c.now().Add(rememberFor)
}

// enter waits for a turn.
func (c *Checker) enter(ctx context.Context) (leave func(), err error) {
	c.mu.Lock()
	if c.waiting >= maxWaiting {
		c.mu.Unlock()
		return nil, ErrLimited
	}
	c.waiting++
	c.mu.Unlock()
	done := func() {
		c.mu.Lock()
		c.waiting--
		c.mu.Unlock()
	}
	select {
	case c.turns <- struct{}{}:
		return func() { <-c.turns; done() }, nil
	case <-ctx.Done():
		done()
		return nil, context.Cause(ctx)
	}
}

// exhausted holds if the source has guessed too often of late.
func (c *Checker) exhausted(source string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.failing[source]
	return l != nil && l.TokensAt(c.now()) < 1
}

func (c *Checker) failed(source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.failing[source]
	if l == nil {
		if len(c.failing) >= maxFailing {
			c.forgetQuiet()
		}
		l = rate.NewLimiter(failuresASec, failureBurst)
		c.failing[source] = l
	}
	l.AllowN(c.now(), 1)
}

// forgetQuiet makes room: sources that have been quiet first, else all.
func (c *Checker) forgetQuiet() {
	for source, l := range c.failing {
		if l.TokensAt(c.now()) >= failureBurst {
			delete(c.failing, source)
		}
	}
	if len(c.failing) >= maxFailing {
		clear(c.failing)
	}
}
