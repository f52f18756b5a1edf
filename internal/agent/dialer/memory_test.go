package dialer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The address that works from here goes first, for a while: a frontdoor's own one
// may be blocked today and open tomorrow.
func TestAnAddressIsRememberedForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const name = "f1-abcd.proxy.example.com"
		list := []string{"own:1", "own:2", "shared:443"}
		var m memory
		order := func(want ...string) {
			t.Helper()
			if got := m.order(name, list); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		order(list...)
		m.remember(name, "shared:443", list[0])
		order("shared:443", "own:1", "own:2")
		if got := m.order("f2-abcd.proxy.example.com", list); !slices.Equal(got, list) {
			t.Errorf("another frontdoor's order is %v", got)
		}
		<-time.After(6 * time.Minute)
		m.remember(name, "shared:443", list[0]) // it was good again
		order("shared:443", "own:1", "own:2")
		<-time.After(6 * time.Minute)
		order(list...)
		m.remember(name, "own:2", list[0])
		m.remember(name, "own:1", list[0])
		order(list...)
	})
}

func TestTheSharedAddressIsAlwaysLast(t *testing.T) {
	t.Parallel()
	many := strings.Split(strings.Repeat("a:1,", 20)+"b:1", ",")
	for _, c := range []struct{ own, want []string }{
		{nil, []string{"s:443"}},
		{[]string{"a:1"}, []string{"a:1", "s:443"}},
		{[]string{"a:1", "s:443", "b:1"}, []string{"a:1", "s:443", "b:1"}},
		{many, append(many[:maxAddresses:maxAddresses], "s:443")},
	} {
		if got := withShared(c.own, "s:443"); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v", c.own, got)
		}
	}
}

// What the configuration does not allow is not dialled, wherever it is in the list.
func TestForbiddenAddressesAreNotDialled(t *testing.T) {
	t.Parallel()
	a := attempt{
		control: netip.MustParseAddrPort("127.0.0.1:443"),
		policy: policy{domain: "localhost", host: "127.0.0.1", lookup: func(context.Context, string) ([]netip.Addr, error) {
			return nil, errors.New("nobody has this name")
		}},
	}
	for _, address := range []string{"example.com:443", "10.0.0.5:443", "169.254.169.254:80", "nonsense"} {
		if r := a.dial(t.Context(), address); !errors.Is(r.err, errForbidden) {
			t.Errorf("%s: %v", address, r.err)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	var m memory
	for i := range 2 * maxMemory {
		m.remember(string(rune(i)), "x", "y")
	}
	if len(m.good) > maxMemory {
		t.Errorf("remembers %d", len(m.good))
	}
}
