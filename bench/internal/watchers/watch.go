package watchers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/internal/tlsconf"
)

// giveUp is when a change is taken for one that will never come.
const giveUp = 30 * time.Second

// watcher is the one that is looked at: it knows when each attachment came.
type watcher struct {
	mu   sync.Mutex
	came map[string]time.Time
	more chan struct{} // has one when something has come
}

// watch begins all watches and returns when each has its snapshot. They end with ctx.
func watch(ctx context.Context, plane *controlplane.Plane, group *errgroup.Group, s setting) (*watcher, error) {
	w := &watcher{came: map[string]time.Time{}, more: make(chan struct{}, 1)}
	for i := range s.reading + s.silent {
		conn, err := plane.Dial(tlsconf.RoleFrontdoor, fmt.Sprintf("f%d", i))
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		if i == 0 {
			stream, err := registryv1.NewDirectoryServiceClient(conn).Watch(ctx, &registryv1.WatchRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				return nil, err
			}
			group.Go(func() error { return ended(ctx, w.read(stream)) })
			continue
		}
		stream, err := open(ctx, conn)
		if err != nil {
			return nil, err
		}
		if i < s.reading {
			group.Go(func() error { return ended(ctx, discard(stream)) })
		}
	}
	return w, nil
}

// ended is nil for a stream that its own reader has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *watcher) read(stream registryv1.DirectoryService_WatchClient) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		now := time.Now()
		w.mu.Lock()
		for _, change := range m.GetChanges() {
			if a := change.GetAttachment(); a != nil {
				w.came[a.GetHostname()] = now
			}
		}
		w.mu.Unlock()
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
}

// delays waits until all have come. What came before its answer has no delay.
func (w *watcher) delays(ctx context.Context, answered map[string]time.Time) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	for {
		w.mu.Lock()
		count := len(w.came)
		w.mu.Unlock()
		if count == len(answered) {
			break
		}
		select {
		case <-w.more:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d changes came: %w", count, len(answered), ctx.Err())
		}
	}
	var list []time.Duration
	w.mu.Lock()
	defer w.mu.Unlock()
	for hostname, at := range answered {
		list = append(list, max(0, w.came[hostname].Sub(at)))
	}
	return list, nil
}

// unread takes messages as they are: the load is not to spend on 100 streams what
// 100 machines would.
type unread struct{ size int }

type unreadCodec struct{}

func (unreadCodec) Marshal(any) (mem.BufferSlice, error) { return nil, nil }

func (unreadCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*unread); ok {
		m.size = data.Len()
	}
	return nil
}

func (unreadCodec) Name() string { return "proto" }

// open begins a watch with a snapshot, which is what an empty request asks for.
func open(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true},
		registryv1.DirectoryService_Watch_FullMethodName, grpc.ForceCodecV2(unreadCodec{}))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(nil); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return stream, stream.RecvMsg(&unread{})
}

func discard(stream grpc.ClientStream) error {
	for {
		if err := stream.RecvMsg(&unread{}); err != nil {
			return err
		}
	}
}
