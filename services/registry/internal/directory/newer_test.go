package directory_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

// A registry of a newer version has written fields that this one does not know,
// a policy perhaps. Whatever rewrites the claim keeps them.
func TestFieldsOfANewerVersionAreKept(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	claim := f.bind(p, "s1", "t1", host)
	unknown := protowire.AppendString(protowire.AppendTag(nil, 999, protowire.BytesType), "newer")
	stored := f.stored(host)
	stored.ProtoReflect().SetUnknown(unknown)
	stored.GetClaim().ProtoReflect().SetUnknown(unknown)
	raw, err := proto.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.etcd.Put(t.Context(), etcdstore.ClaimKey(host), string(raw)); err != nil {
		t.Fatal(err)
	}
	p.Instance = "another"
	if again := f.bind(p, "s2", "t1", host); again.Generation <= claim.Generation {
		t.Fatalf("generation %d behind %d", again.Generation, claim.Generation)
	}
	stored = f.stored(host)
	if !bytes.Equal(stored.ProtoReflect().GetUnknown(), unknown) || !bytes.Equal(stored.GetClaim().ProtoReflect().GetUnknown(), unknown) {
		t.Error("a take-over loses the fields of a newer version")
	}
}

func (f *fixture) stored(name string) *storagev1.Claim {
	f.t.Helper()
	stored, ok := f.endpoint(name).Record.(*storagev1.Claim)
	if !ok {
		f.t.Fatalf("%s has no record", name)
	}
	return stored
}
