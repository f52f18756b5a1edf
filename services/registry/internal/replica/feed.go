package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

const (
	listPage   = 2000
	opTimeout  = 10 * time.Second
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// Config bounds a replica; the zero value takes defaults.
type Config struct {
	// History is how many changes are kept for streams to be resumed; 0: 131072.
	History int
	// KeepAlive is how often a stream without changes hears its position; 0: 10 s.
	KeepAlive time.Duration
	// Hold is how long a stream waits that asks for a revision which is not
	// here yet; 0: 1 s.
	Hold time.Duration
}

func (c Config) withDefaults() Config {
	if c.History == 0 {
		c.History = 1 << 17
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = 10 * time.Second
	}
	if c.Hold == 0 {
		c.Hold = time.Second
	}
	return c
}

// Replica feeds a copy from etcd.
type Replica struct {
	*Copy
	config Config
	etcd   *clientv3.Client
	log    *slog.Logger
	ready  chan struct{}

	// asks are wishes to hear how far the watch is; several at once are one.
	asks chan struct{}
	// watching: etcd has confirmed the watch, and it has not ended.
	watching atomic.Bool
}

// New returns a replica that Run fills.
func New(config Config, etcd *clientv3.Client, log *slog.Logger) *Replica {
	config = config.withDefaults()
	return &Replica{Copy: newCopy(log, config.History), config: config, etcd: etcd, log: log, ready: make(chan struct{}), asks: make(chan struct{}, 1)}
}

// Ready is closed once the copy has been filled.
func (r *Replica) Ready() <-chan struct{} { return r.ready }

// Current reports whether the copy follows etcd.
func (r *Replica) Current() bool { return r.watching.Load() }

// Run follows etcd until ctx ends. Whatever fails is tried again.
func (r *Replica) Run(ctx context.Context) error {
	backoff, compacted := minBackoff, true
	for ctx.Err() == nil {
		err := r.follow(ctx, compacted, func() { backoff = minBackoff })
		compacted = errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, errNotLoaded)
		if ctx.Err() != nil {
			break
		}
		r.log.WarnContext(ctx, "the watch of etcd has ended and begins again", "error", err, "list_again", compacted)
		select {
		case <-ctx.Done():
		case <-time.After(backoff/2 + mathrand.N(backoff)): // #nosec G404 -- jitter
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return ctx.Err()
}

// errNotLoaded is a failure before there was anything to follow from.
var errNotLoaded = errors.New("the state could not be listed")

// follow lists the state, if asked to, and watches from there until it fails.
func (r *Replica) follow(ctx context.Context, list bool, works func()) error {
	if list {
		if err := r.list(ctx); err != nil {
			return fmt.Errorf("%w: %w", errNotLoaded, err)
		}
	}
	// A member of etcd without a leader would be silent for ever.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	// Watches of one client with the same metadata share a stream, and etcd says
	// how far a stream is only when all of its watches are: this one is alone.
	ctx = metadata.AppendToOutgoingContext(ctx, "dialback-watch", rand.Text())
	asking.Go(func() { r.passOn(ctx) })
	defer r.watching.Store(false)
	watch := r.etcd.Watch(ctx, etcdstore.StatePrefix, clientv3.WithPrefix(), clientv3.WithRev(r.at()+1),
		clientv3.WithCreatedNotify(), clientv3.WithProgressNotify())
	for resp := range watch {
		if err := resp.Err(); err != nil {
			return err
		}
		if resp.Created {
			r.watching.Store(true)
			works()
		}
		r.take(resp)
	}
	return errors.New("etcd has closed the watch")
}

// take applies a response, which has whole revisions.
func (r *Replica) take(resp clientv3.WatchResponse) {
	for events := resp.Events; len(events) > 0; {
		revision, n := events[0].Kv.ModRevision, 1
		for n < len(events) && events[n].Kv.ModRevision == revision {
			n++
		}
		r.apply(revision, eventsOf(events[:n]))
		events = events[n:]
	}
	if resp.IsProgressNotify() {
		r.progress(resp.Header.Revision)
	}
}

func eventsOf(list []*clientv3.Event) []event {
	events := make([]event, len(list))
	for i, e := range list {
		events[i] = event{key: string(e.Kv.Key), version: e.Kv.ModRevision}
		if e.Type == clientv3.EventTypePut {
			events[i].value = notNil(e.Kv.Value)
		}
	}
	return events
}

// list reads the whole state at one revision, page by page.
func (r *Replica) list(ctx context.Context) error {
	var events []event
	end := clientv3.GetPrefixRangeEnd(etcdstore.StatePrefix)
	from, revision := etcdstore.StatePrefix, int64(0)
	for {
		page, err := r.page(ctx, from, end, revision)
		if err != nil {
			return err
		}
		if revision == 0 {
			revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			events = append(events, listed(kv))
		}
		if !page.More {
			break
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
	r.replace(revision, events)
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
	return nil
}

func (r *Replica) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	return r.etcd.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(revision))
}

func listed(kv *mvccpb.KeyValue) event {
	return event{key: string(kv.Key), value: notNil(kv.Value), version: kv.ModRevision}
}

// notNil keeps an empty record apart from none.
func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// ask has etcd say how far the watch is, without waiting for the answer. Other
// parts write to the same etcd: its revision rises without changes here.
func (r *Replica) ask() {
	select {
	case r.asks <- struct{}{}:
	default:
	}
}

// passOn asks etcd; while the connection is down that waits, so no stream does.
func (r *Replica) passOn(ctx context.Context) {
	for {
		select {
		case <-r.asks:
			_ = r.etcd.RequestProgress(ctx) // the next one is asked for soon
		case <-ctx.Done():
			return
		}
	}
}

func (c *Copy) at() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revision
}
