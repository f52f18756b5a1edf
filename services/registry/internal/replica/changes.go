package replica

import (
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

// maxMessage is how many bytes of changes a message has: gRPC refuses 4 MiB.
const maxMessage = 512 << 10

// way is what an attachment is known by.
type way struct{ hostname, connector, session string }

func wayOf(a *registryv1.Attachment) way {
	return way{a.GetHostname(), a.GetConnectorId(), a.GetSessionId()}
}

// changeSet is what one revision means to who watches.
type changeSet struct {
	revision int64
	// epoch is set if the revision changes it.
	epoch *uint64
	// reasons of what is deleted in this revision. A deletion that has none is
	// a lease that ran out.
	reasons map[way]agentv1.CloseReason

	unreachable, gone, claims, attachments, nodes []*registryv1.Change
}

func newChangeSet(revision int64, events []event, log *slog.Logger) *changeSet {
	set := &changeSet{revision: revision, reasons: map[way]agentv1.CloseReason{}}
	for _, e := range events {
		switch {
		case e.key == etcdstore.EpochKey:
			number, err := etcdstore.DecodeEpoch(e.value)
			if err != nil {
				log.Error("a record cannot be read", "key", e.key, "error", err)
				continue
			}
			set.epoch = &number
		case e.key == etcdstore.EndedKey && e.value != nil:
			stored := &storagev1.Ended{}
			if err := proto.Unmarshal(e.value, stored); err != nil {
				log.Error("a record cannot be read", "key", e.key, "error", err)
			}
			for _, ended := range stored.GetAttachments() {
				set.reasons[wayOf(ended.GetAttachment())] = ended.GetReason()
			}
		}
	}
	return set
}

func (s *changeSet) attachmentGone(a *registryv1.Attachment) {
	change := &registryv1.Change{Change: &registryv1.Change_AttachmentVanished{AttachmentVanished: a}}
	if reason, ok := s.reasons[wayOf(a)]; ok {
		change = &registryv1.Change{Change: &registryv1.Change_AttachmentEnded{
			AttachmentEnded: &registryv1.AttachmentEnded{Attachment: a, Reason: reason},
		}}
	}
	s.unreachable = append(s.unreachable, change)
}

// ordered returns the changes so that who applies them one by one never has an
// attachment without its claim, nor one of an owner before.
func (s *changeSet) ordered() []*registryv1.Change {
	return slices.Concat(s.unreachable, s.gone, s.claims, s.attachments, s.nodes)
}

// messages cuts changes to size. Only the last message has the position: a
// watch that breaks off in between is resumed before all of them.
func messages(changes []*registryv1.Change, position *registryv1.Position) []*registryv1.WatchResponse {
	list := []*registryv1.WatchResponse{{}}
	size := 0
	for _, change := range changes {
		weight := proto.Size(change) + 8
		if size > 0 && size+weight > maxMessage {
			list = append(list, &registryv1.WatchResponse{})
			size = 0
		}
		last := list[len(list)-1]
		last.Changes = append(last.Changes, change)
		size += weight
	}
	list[len(list)-1].Position = position
	return list
}
