package grpcapi

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
)

// patience is how long the nodes that are asked at once have to answer.
const patience = time.Second

// Nodes are connections to nodes of one kind, by node id.
type Nodes map[string]grpc.ClientConnInterface

// said is what one node has answered: an answer, or a refusal of its own.
type said[A any] struct {
	node   string
	answer A
	err    error
}

// ask calls all nodes at once on behalf of the caller and returns what they have
// said, by node id, and which have said nothing within a second. One that waits
// does not hold up the answer of the others beyond that.
func ask[A any](ctx context.Context, nodes Nodes, call func(context.Context, grpc.ClientConnInterface) (A, error)) (heard []said[A], missing []string) {
	return askEach(ctx, nodes, func(ctx context.Context, _ string, conn grpc.ClientConnInterface) (A, error) { return call(ctx, conn) })
}

// askEach is ask for calls that differ: each is told its key.
func askEach[A any](ctx context.Context, nodes Nodes, call func(context.Context, string, grpc.ClientConnInterface) (A, error)) (heard []said[A], missing []string) {
	ctx, cancel := context.WithTimeout(onBehalf(ctx), patience)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		wg.Go(func() {
			answer, err := call(ctx, id, nodes[id])
			mu.Lock()
			defer mu.Unlock()
			if answered(err) {
				heard = append(heard, said[A]{id, answer, err})
			} else {
				missing = append(missing, id)
			}
		})
	}
	wg.Wait()
	slices.SortFunc(heard, func(a, b said[A]) int { return cmp.Compare(a.node, b.node) })
	slices.Sort(missing)
	return heard, missing
}

// answered reports whether a call's end is the node's own word.
func answered(err error) bool {
	if err == nil {
		return true
	}
	e, ours := errs.From(err)
	return ours && e.Kind() != errs.Unavailable && e.Kind() != errs.DeadlineExceeded && e.Kind() != errs.Internal
}

// onBehalf passes the caller's own credential and address on, and nothing else:
// this frontdoor's certificate gives no right to what users ask for.
func onBehalf(ctx context.Context) context.Context {
	md := metadata.MD{}
	if credential := metadata.ValueFromIncomingContext(ctx, "authorization"); len(credential) > 0 {
		md.Set("authorization", credential...)
	}
	if address := rpc.ClientAddress(ctx); address != "" {
		md.Set(rpc.ClientAddressKey, address)
	}
	return metadata.NewOutgoingContext(ctx, md)
}
