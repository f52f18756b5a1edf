package identity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

func TestThrottleRefills(t *testing.T) {
	t.Parallel()
	c := newClock()
	th := identity.NewThrottle(2, time.Second, 10, c.now)
	wants := func(want time.Duration) {
		t.Helper()
		if got := th.Wait("192.0.2.1:1"); got != want {
			t.Errorf("Wait() = %v, want %v", got, want)
		}
	}
	wants(0)
	th.Fail("192.0.2.1:1")
	wants(0)
	th.Fail("192.0.2.1:2")
	wants(time.Second)
	c.advance(time.Second)
	wants(0)
	for range 100 { // attempts side by side: the debt is bounded
		th.Fail("192.0.2.1:3")
	}
	wants(3 * time.Second)
	c.advance(time.Hour)
	wants(0)
}

func TestThrottleKnowsWhoIsOneClient(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::ffff:2]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
		{"bufconn", "bufconn", true},
		{"", "192.0.2.1:1", false},
	} {
		th := identity.NewThrottle(1, time.Second, 10, newClock().now)
		th.Fail(test.a)
		if same := th.Wait(test.b) > 0; same != test.same {
			t.Errorf("%q and %q: one client %v, want %v", test.a, test.b, same, test.same)
		}
	}
}

func TestThrottleForgetsTheOldestFailure(t *testing.T) {
	t.Parallel()
	th := identity.NewThrottle(1, time.Second, 3, newClock().now)
	for n := range 3 {
		th.Fail(fmt.Sprintf("192.0.2.%d", n))
	}
	th.Fail("192.0.2.0")
	th.Fail("192.0.2.9")
	for address, limited := range map[string]bool{"192.0.2.0": true, "192.0.2.1": false, "192.0.2.2": true, "192.0.2.9": true} {
		if got := th.Wait(address) > 0; got != limited {
			t.Errorf("%s: limited %v, want %v", address, got, limited)
		}
	}
}
