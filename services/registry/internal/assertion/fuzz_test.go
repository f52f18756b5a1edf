package assertion

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
)

type oneKey struct{ key ed25519.PublicKey }

func (k oneKey) AssertionKey(context.Context, string) (ed25519.PublicKey, error) { return k.key, nil }

// FuzzVerify signs whatever it is given: even auth's word makes no principal
// whose ids would reach into another's keys.
func FuzzVerify(f *testing.F) {
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	good, err := proto.Marshal(&authv1.Assertion{
		AccountId: "acme", AgentId: "a1", TokenId: "t1", Instance: make([]byte, 16), Connector: "c1",
		Grants: []string{"bind:*.example.com"}, ExpireTime: timestamppb.New(time.Now().Add(24 * time.Hour)),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, true)
	f.Add(good[:len(good)-1], true)
	f.Add(good, false)
	f.Add([]byte{0xff}, true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, raw []byte, sign bool) {
		signature := make([]byte, ed25519.SignatureSize)
		if sign {
			signature = ed25519.Sign(signer, append([]byte(prefix), raw...))
		}
		p, err := Verify(t.Context(), oneKey{public}, &authv1.SignedAssertion{Assertion: raw, Signature: signature}, "c1")
		if err != nil {
			return
		}
		if !sign {
			t.Fatal("an assertion that nobody has signed holds")
		}
		if !isID(p.Account) || !isID(p.Agent) || len(p.Instance) != instanceSize {
			t.Errorf("principal %+v", p)
		}
	})
}
