package replica

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

const limit = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m)) }

// filled returns a replica that has been filled, at revision 1, without etcd.
func filled(t *testing.T, history int) *Replica {
	r := New(Config{History: history, KeepAlive: limit}, nil, testkit.Logger(t))
	r.replace(1, nil)
	close(r.ready)
	return r
}

func attachmentEvent(i int, version int64) event {
	a := &registryv1.Attachment{
		Hostname: fmt.Sprintf("n%d.example.com", i), Generation: 1, ConnectorId: "c1-abcd", SessionId: "s1",
	}
	return event{key: attachmentKey(i), value: marshal(&storagev1.Attachment{Attachment: a}), version: version}
}

func attachmentKey(i int) string {
	return fmt.Sprintf("%scom/example/n%d//c1-abcd/s1", etcdstore.AttachPrefix, i)
}

func claimEvent(i int, version int64) event {
	host := fmt.Sprintf("n%d.example.com", i)
	return event{key: etcdstore.ClaimKey(host), version: version, value: marshal(&storagev1.Claim{Claim: &registryv1.Claim{
		Hostname: host, Generation: 1, State: registryv1.ClaimState_CLAIM_STATE_ACTIVE,
		Options: make([]byte, 4<<10),
	}})}
}

func marshal(m proto.Message) []byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// collected is a stream that is read.
type collected struct {
	got  chan *registryv1.WatchResponse
	err  chan error
	stop context.CancelFunc
}

func watch(t *testing.T, r *Replica, after *registryv1.Position) *collected {
	ctx, cancel := context.WithCancel(context.Background())
	c := &collected{got: make(chan *registryv1.WatchResponse), err: make(chan error, 1), stop: cancel}
	go func() {
		c.err <- r.Watch(ctx, after, func(m *registryv1.WatchResponse) error {
			select {
			case c.got <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(cancel)
	return c
}

func (c *collected) recv(t *testing.T) *registryv1.WatchResponse {
	t.Helper()
	select {
	case m := <-c.got:
		return m
	case err := <-c.err:
		t.Fatalf("the stream ended: %v", err)
	case <-time.After(limit):
		t.Fatal("no message")
	}
	return nil
}

// One revision is sent in several messages, and only the last may be resumed
// after: who is cut off in between gets all of them again.
func TestALargeRevisionIsCutToSize(t *testing.T) {
	t.Parallel()
	r := filled(t, 1<<20)
	const many = 2000
	var events []event
	for i := range many {
		events = append(events, claimEvent(i, 2))
	}
	first := watch(t, r, &registryv1.Position{Revision: 1})
	r.apply(2, events)
	m := first.recv(t)
	if m.GetPosition() != nil {
		t.Fatal("the first of several messages has a position: a resume behind it would lose the rest")
	}
	first.stop() // cut off in the middle

	second := watch(t, r, &registryv1.Position{Revision: 1})
	changes, messages := 0, 0
	for {
		m := second.recv(t)
		if size := proto.Size(m); size > 1<<20 {
			t.Errorf("a message of %d bytes", size)
		}
		changes += len(m.GetChanges())
		messages++
		if m.GetPosition() != nil {
			break
		}
	}
	if changes != many || messages < 2 {
		t.Errorf("%d changes in %d messages", changes, messages)
	}
	// A snapshot is cut in the same way.
	third := watch(t, r, nil)
	if m := third.recv(t); !m.GetSnapshot() || m.GetPosition() != nil {
		t.Error("the first message of a large snapshot has a position, or is no snapshot")
	}
}

func TestASlowStreamIsCutOffAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	r := filled(t, 100)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stuck := make(chan struct{})
	cut := make(chan error, 1)
	go func() {
		cut <- r.Watch(ctx, &registryv1.Position{Revision: 1}, func(*registryv1.WatchResponse) error {
			select {
			case <-stuck:
			default:
				close(stuck)
			}
			<-ctx.Done() // as gRPC's Send towards a peer that does not read
			return ctx.Err()
		})
	}()
	quick := watch(t, r, &registryv1.Position{Revision: 1})
	for i := range 400 {
		r.apply(int64(i+2), []event{attachmentEvent(i, int64(i+2))})
		if m := quick.recv(t); m.GetPosition().GetRevision() != int64(i+2) {
			t.Fatalf("the quick stream is at %v", m.GetPosition())
		}
		if i == 0 {
			<-stuck
		}
	}
	select {
	case err := <-cut:
		if !errors.Is(err, errSlow) {
			t.Errorf("the slow stream ended with %v", err)
		}
	case <-time.After(limit):
		t.Error("the slow stream goes on")
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	r := filled(t, 10)
	for i := range 30 {
		r.apply(int64(i+2), []event{attachmentEvent(i, int64(i+2))})
	}
	// Revisions 22 to 31 are kept.
	m := watch(t, r, &registryv1.Position{Revision: 25}).recv(t)
	if m.GetSnapshot() || m.GetPosition().GetRevision() != 26 {
		t.Errorf("behind 25 comes %v", m.GetPosition())
	}
	for name, after := range map[string]*registryv1.Position{
		"none": nil, "a position that is not kept any more": {Revision: 20},
	} {
		m := watch(t, r, after).recv(t)
		if !m.GetSnapshot() || len(m.GetChanges()) != 30 || m.GetPosition().GetRevision() != 31 {
			t.Errorf("after %s: %d changes, %v", name, len(m.GetChanges()), m.GetPosition())
		}
	}
}

func TestADeletionSaysWhyOrThatItHasNoReason(t *testing.T) {
	t.Parallel()
	r := filled(t, 100)
	r.apply(2, []event{attachmentEvent(1, 2), attachmentEvent(2, 2)})
	w := watch(t, r, &registryv1.Position{Revision: 2})
	ended := marshal(&storagev1.Ended{Attachments: []*registryv1.AttachmentEnded{{
		Attachment: &registryv1.Attachment{Hostname: "n1.example.com", ConnectorId: "c1-abcd", SessionId: "s1"}, Reason: 2,
	}}})
	// The word may stand behind the deletion that it explains.
	r.apply(3, []event{{key: attachmentKey(1)}, {key: attachmentKey(2)}, {key: etcdstore.EndedKey, value: ended, version: 3}})
	m := w.recv(t)
	if len(m.GetChanges()) != 2 || m.GetChanges()[0].GetAttachmentEnded().GetReason() != 2 || m.GetChanges()[1].GetAttachmentVanished() == nil {
		t.Errorf("changes %v", m.GetChanges())
	}
	// It explains nothing in a later revision.
	r.apply(4, []event{attachmentEvent(1, 4)})
	r.apply(5, []event{{key: attachmentKey(1)}})
	w.recv(t)
	if m := w.recv(t); m.GetChanges()[0].GetAttachmentVanished() == nil {
		t.Errorf("an old word explains a new deletion: %v", m)
	}
}

// A listing that is compared with the copy: what is gone has gone without a word.
func TestADifferenceIsChanges(t *testing.T) {
	t.Parallel()
	r := filled(t, 100)
	r.apply(2, []event{claimEvent(1, 2), attachmentEvent(1, 2), attachmentEvent(2, 2), attachmentEvent(3, 2)})
	w := watch(t, r, &registryv1.Position{Revision: 2})
	ended := marshal(&storagev1.Ended{Attachments: []*registryv1.AttachmentEnded{{
		Attachment: &registryv1.Attachment{Hostname: "n2.example.com", ConnectorId: "c1-abcd", SessionId: "s1"},
	}}})
	r.replace(9, []event{attachmentEvent(1, 2), attachmentEvent(3, 8), attachmentEvent(4, 7), {key: etcdstore.EndedKey, value: ended, version: 5}})
	m := w.recv(t)
	var kinds []string
	for _, c := range m.GetChanges() {
		switch {
		case c.GetAttachmentVanished().GetHostname() == "n2.example.com":
			kinds = append(kinds, "vanished")
		case c.GetClaimRemoved() == "n1.example.com":
			kinds = append(kinds, "removed")
		case c.GetAttachment() != nil:
			kinds = append(kinds, "attachment")
		}
	}
	if fmt.Sprint(kinds) != "[vanished removed attachment attachment]" || m.GetPosition().GetRevision() != 9 {
		t.Errorf("changes %v at %v", m.GetChanges(), m.GetPosition())
	}
}

// The store was restored: what streams have does not compare with what comes.
func TestANewEpochEndsStreams(t *testing.T) {
	t.Parallel()
	for name, restore := range map[string]func(r *Replica){
		"seen by the watch": func(r *Replica) {
			r.apply(3, []event{{key: etcdstore.EpochKey, value: marshal(&storagev1.Epoch{Number: 1}), version: 3}})
		},
		"seen in a listing": func(r *Replica) {
			r.replace(3, []event{{key: etcdstore.EpochKey, value: marshal(&storagev1.Epoch{Number: 1}), version: 3}})
		},
		"revisions run backwards": func(r *Replica) { r.replace(1, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := filled(t, 100)
			r.apply(2, []event{attachmentEvent(1, 2)})
			w := watch(t, r, nil)
			before := w.recv(t).GetPosition()
			restore(r)
			select {
			case err := <-w.err:
				if !errors.Is(err, errRestored) {
					t.Errorf("the stream ended with %v", err)
				}
			case m := <-w.got:
				t.Errorf("the stream goes on with %v", m)
			case <-time.After(limit):
				t.Error("the stream goes on")
			}
			if name == "revisions run backwards" {
				return // etcd decides whether the position will come
			}
			if m := watch(t, r, before).recv(t); !m.GetSnapshot() || m.GetPosition().GetEpoch() != 1 {
				t.Errorf("behind %v comes %v", before, m)
			}
		})
	}
}

func TestDetached(t *testing.T) {
	t.Parallel()
	r := filled(t, 100)
	want := func(at string, count int, since int64) {
		t.Helper()
		got := r.Detached()
		if len(got) != count || count > 0 && got["n1.example.com"].Since != since {
			t.Errorf("%s: detached %v", at, got)
		}
	}
	r.apply(2, []event{claimEvent(1, 2), attachmentEvent(1, 2)})
	want("bound", 0, 0)
	r.apply(3, []event{{key: attachmentKey(1)}})
	want("lost", 1, 3)
	r.apply(4, []event{attachmentEvent(1, 4)})
	want("back", 0, 0)
	r.apply(5, []event{{key: attachmentKey(1)}})
	want("lost again", 1, 5)
	r.apply(6, []event{{key: etcdstore.ClaimKey("n1.example.com")}})
	want("free", 0, 0)
}
