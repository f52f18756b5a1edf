package registry_test

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

const (
	sessionIndex = etcdstore.Prefix + "index/session/"
	tunnelIndex  = etcdstore.Prefix + "index/tunnel/"
	usageRecords = etcdstore.Prefix + "index/quota/"
	maxFaults    = 10 // enough to see what is wrong
)

// ledger is what the store had at one revision. Names are as keys have them.
type ledger struct {
	d        *deployment
	revision int64
	claims   map[string]*registryv1.Claim
	ways     map[string]map[string]*registryv1.Attachment // by name and <connector>/<session>
	sessions map[string]bool                              // <connector>/<session>/<name>
	tunnels  map[string]string                            // <account>/<agent>/<tunnel>: the name
	usage    map[string]*storagev1.Usage                  // by account
	highest  map[string]uint64                            // generation that a name has had
	faults   int

	// What the revision has changed.
	before  map[string]*registryv1.Claim // of names whose claim or ways it wrote
	removed []*registryv1.Attachment
	ended   *storagev1.Ended
}

// replay goes through all that the store has ever had, and checks that it was right
// in itself at each revision.
func replay(d *deployment) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
	defer cancel()
	const last = etcdstore.Prefix + "last"
	if _, err := d.etcd.Put(ctx, last, ""); err != nil {
		d.t.Fatal(err)
	}
	l := &ledger{
		d: d, claims: map[string]*registryv1.Claim{}, ways: map[string]map[string]*registryv1.Attachment{}, sessions: map[string]bool{},
		tunnels: map[string]string{}, usage: map[string]*storagev1.Usage{}, highest: map[string]uint64{},
	}
	l.begin(0)
	for resp := range d.etcd.Watch(ctx, etcdstore.Prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			d.t.Fatal(err)
		}
		for _, event := range resp.Events {
			if event.Kv.ModRevision != l.revision {
				l.check()
				l.begin(event.Kv.ModRevision)
			}
			if string(event.Kv.Key) == last {
				l.checkEnd()
				return
			}
			l.apply(event)
		}
	}
	d.t.Fatal("the store does not show all that it had")
}

func (l *ledger) begin(revision int64) {
	l.revision, l.before, l.removed, l.ended = revision, map[string]*registryv1.Claim{}, nil, nil
}

func (l *ledger) fault(format string, args ...any) {
	if l.faults++; l.faults <= maxFaults {
		l.d.t.Errorf("revision %d: "+format, append([]any{l.revision}, args...)...)
	}
}

// apply makes one change.
func (l *ledger) apply(event *clientv3.Event) {
	key, gone := string(event.Kv.Key), event.Type == clientv3.EventTypeDelete
	if rest, ok := strings.CutPrefix(key, etcdstore.ClaimPrefix); ok {
		l.touch(rest)
		change(l.claims, rest, gone, decoded(l, event, &storagev1.Claim{}).GetClaim())
	}
	if rest, ok := strings.CutPrefix(key, etcdstore.AttachPrefix); ok {
		name, way, _ := strings.Cut(rest, "//")
		l.touch(name)
		if l.ways[name] == nil {
			l.ways[name] = map[string]*registryv1.Attachment{}
		}
		if gone {
			l.removed = append(l.removed, l.ways[name][way])
		}
		change(l.ways[name], way, gone, decoded(l, event, &storagev1.Attachment{}).GetAttachment())
	}
	if rest, ok := strings.CutPrefix(key, sessionIndex); ok {
		change(l.sessions, rest, gone, true)
	}
	if rest, ok := strings.CutPrefix(key, tunnelIndex); ok {
		change(l.tunnels, rest, gone, decoded(l, event, &storagev1.TunnelEntry{}).GetHostname())
	}
	if rest, ok := strings.CutPrefix(key, usageRecords); ok {
		change(l.usage, rest, gone, decoded(l, event, &storagev1.Usage{}))
	}
	if key == etcdstore.EndedKey {
		l.ended = decoded(l, event, &storagev1.Ended{})
	}
}

// touch keeps what a name's claim was before the revision.
func (l *ledger) touch(name string) {
	if _, known := l.before[name]; !known {
		l.before[name] = l.claims[name]
	}
}

func change[V any](m map[string]V, key string, gone bool, value V) {
	if gone {
		delete(m, key)
		return
	}
	m[key] = value
}

func decoded[M proto.Message](l *ledger, event *clientv3.Event, m M) M {
	if err := proto.Unmarshal(event.Kv.Value, m); err != nil {
		l.fault("%s: %v", event.Kv.Key, err)
	}
	return m
}
