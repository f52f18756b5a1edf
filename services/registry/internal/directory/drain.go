package directory

import (
	"context"
	"slices"
	"time"
)

// Node answers one that is alive.
func (d *Directory) Node(ctx context.Context, id string) (Node, Nodes, error) {
	nodes, err := d.store.Nodes(ctx)
	if err != nil {
		return Node{}, nodes, err
	}
	i := slices.IndexFunc(nodes.List, func(n Node) bool { return n.ID == id })
	if i < 0 {
		return Node{}, nodes, ErrNodeUnknown.WithMessage("there is no node %q; it has ended, or its name is another one since it was started again", id)
	}
	return nodes.List[i], nodes, nil
}

// Drain has a node drain. Agents leave one connector at a time: where two
// drain at once some agent may be told by both to go elsewhere, and there is no
// elsewhere. force does it nevertheless. A repeat is no error.
func (d *Directory) Drain(ctx context.Context, by Caller, id string, force bool) (Node, error) {
	var node Node
	err := retry(ctx, func() error {
		n, nodes, err := d.Node(ctx, id)
		node = n
		if err != nil || n.drains() {
			return err
		}
		unchangedSince := int64(0)
		if n.Kind == Connector && !force {
			unchangedSince = nodes.Revision
			for _, other := range nodes.List {
				if other.Kind == Connector && other.drains() {
					return ErrDraining.WithMessage("connector %s drains, and agents leave one connector at a time; wait for it, or force it", other.ID).
						WithMetadata("node", other.ID).WithRetry(time.Second)
				}
			}
		}
		node.DrainRequested = true
		return d.store.RequestDrain(ctx, n, unchangedSince, Event{
			Time: time.Now(), Action: Drained, Kind: KindNode, Name: n.ID, Source: by.source(),
		})
	})
	return node, err
}

// FinishRestore ends a restore from a backup and returns the epoch from now on.
func (d *Directory) FinishRestore(ctx context.Context, by Caller) (uint64, error) {
	return d.store.FinishRestore(ctx, Event{
		Time: time.Now(), Action: Updated, Kind: "store", Name: "registry", Reason: "restored", Source: by.source(),
	})
}

// Nodes answers all that are alive.
func (d *Directory) Nodes(ctx context.Context) ([]Node, error) {
	nodes, err := d.store.Nodes(ctx)
	return nodes.List, err
}
