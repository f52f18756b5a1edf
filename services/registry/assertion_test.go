package registry_test

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
)

// The registry believes auth's signature and nothing beside it.
func TestAssertionsThatDoNotHold(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	c := d.start().connector("c1")
	a := newAgent("acme")
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(change func(*authv1.Assertion)) *authv1.SignedAssertion { return d.assertion(a, "c1", change) }
	for name, assertion := range map[string]*authv1.SignedAssertion{
		"none":  nil,
		"empty": {},
		"of another key": func() *authv1.SignedAssertion {
			s := d.assertion(a, "c1")
			s.Signature = ed25519.Sign(foreign, append([]byte("dialback-assertion-v1\x00"), s.GetAssertion()...))
			return s
		}(),
		"without the prefix": func() *authv1.SignedAssertion {
			s := d.assertion(a, "c1")
			s.Signature = ed25519.Sign(d.signer, s.GetAssertion())
			return s
		}(),
		"of an unknown key id": func() *authv1.SignedAssertion {
			s := d.assertion(a, "c1")
			s.KeyId = "key-2"
			return s
		}(),
		"with another account behind the signature": func() *authv1.SignedAssertion {
			s, other := d.assertion(a, "c1"), d.assertion(newAgent("other"), "c1")
			s.Assertion = other.GetAssertion()
			return s
		}(),
		"without a signature": func() *authv1.SignedAssertion {
			s := d.assertion(a, "c1")
			s.Signature = nil
			return s
		}(),
		"no message":             {Assertion: []byte{0xff}, KeyId: "key-1", Signature: ed25519.Sign(d.signer, []byte("dialback-assertion-v1\x00\xff"))},
		"too long":               signed(func(m *authv1.Assertion) { m.Grants = []string{string(make([]byte, 40<<10))} }),
		"expired":                signed(func(m *authv1.Assertion) { m.ExpireTime = timestamppb.New(time.Now().Add(-time.Second)) }),
		"without an expiry":      signed(func(m *authv1.Assertion) { m.ExpireTime = nil }),
		"for another connector":  d.assertion(a, "c2"),
		"for no connector":       d.assertion(a, ""),
		"for the node's id":      d.assertion(a, c.id),
		"without an account":     signed(func(m *authv1.Assertion) { m.AccountId = "" }),
		"with a slash":           signed(func(m *authv1.Assertion) { m.AgentId = "a/b" }),
		"with a short instance":  signed(func(m *authv1.Assertion) { m.Instance = []byte("short") }),
		"with an unknown grant":  signed(func(m *authv1.Assertion) { m.Grants = []string{"fly:*"} }),
		"with one unknown grant": signed(func(m *authv1.Assertion) { m.Grants = []string{"bind:*.example.com", "fly:*"} }),
	} {
		req := c.request(a, "s1", newTunnel(), "app.example.com")
		req.Assertion = assertion
		_, err := c.directory.Bind(c.ctx(), req)
		if e, ok := errs.From(err); !ok || e.Kind() != errs.Unauthenticated {
			t.Errorf("an assertion %s: %v", name, err)
		}
		_, err = c.directory.Release(c.ctx(), &registryv1.ReleaseRequest{Assertion: assertion, TunnelId: newTunnel()})
		if e, ok := errs.From(err); !ok || e.Kind() != errs.Unauthenticated {
			t.Errorf("a release by an assertion %s: %v", name, err)
		}
	}
}

// A connector may have every agent's assertion for itself; it cannot release
// one's tunnel in another's name.
func TestReleaseIsTheOwners(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c := r.connector("c1")
	owner := c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	for _, a := range []agent{newAgent("other"), newAgent("acme")} {
		if err := c.release(bound{agent: a, tunnel: owner.tunnel}); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.tryBind(newAgent("other"), "s2", newTunnel(), "app.example.com"); !errors.Is(err, errTaken) {
		t.Errorf("the name was released by a stranger: %v", err)
	}
}
