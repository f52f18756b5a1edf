package routes

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/internal/hostname"
)

const (
	// prefix is before what the registry keeps a copy of.
	prefix = "/dialback/registry/state/"
	// group is how many operations etcd takes in a transaction, writers how many
	// transactions are on their way at once.
	group, writers = 128, 64
	accounts       = 1000
	connectors     = 64
	ready          = registryv1.NodeState_NODE_STATE_READY
)

// fill writes what the registry would have written if every agent had bound one
// name through one connector: in its keys, without asking it a million times.
func fill(ctx context.Context, etcd *clientv3.Client) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(writers)
	for i := range connectors {
		node := &storagev1.Node{Node: &registryv1.Node{
			Kind: registryv1.NodeKind_NODE_KIND_CONNECTOR, Id: connectorOf(i), State: ready, Address: "127.0.0.1:1", Registration: 1, Synced: true,
		}}
		op, err := put("node/connector/"+connectorOf(i), node)
		if err != nil {
			return err
		}
		all.Go(func() error { return commit(ctx, etcd, op) })
	}
	for first := 0; first < many; first += group / 2 {
		var ops []clientv3.Op
		for i := first; i < min(first+group/2, many); i++ {
			both, err := agent(i)
			if err != nil {
				return err
			}
			ops = append(ops, both[:]...)
		}
		all.Go(func() error { return commit(ctx, etcd, ops...) })
	}
	return all.Wait()
}

func commit(ctx context.Context, etcd *clientv3.Client, ops ...clientv3.Op) error {
	_, err := etcd.Txn(ctx).Then(ops...).Commit()
	return err
}

// agent writes an agent's claim and attachment.
func agent(i int) (ops [2]clientv3.Op, err error) {
	name := fmt.Sprintf("%013x.%s", i*7919, controlplane.Domain)
	session := controlplane.RandomHex(16)
	ops[0], err = put("claim/"+hostname.Reversed(name), &storagev1.Claim{Claim: &registryv1.Claim{
		Hostname: name, State: registryv1.ClaimState_CLAIM_STATE_ACTIVE, Generation: 1, AccountId: "account-" + strconv.Itoa(i%accounts),
		AgentId: controlplane.RandomHex(16), Instance: []byte(session[:16]), TunnelId: controlplane.RandomHex(16),
		Protocol: proxyv1.Protocol_PROTOCOL_HTTP,
	}, Connectors: []string{connectorOf(i)}})
	if err != nil {
		return ops, err
	}
	ops[1], err = put("attach/"+hostname.Reversed(name)+"//"+connectorOf(i)+"/"+session, &storagev1.Attachment{Attachment: &registryv1.Attachment{
		Hostname: name, Generation: 1, ConnectorId: connectorOf(i), SessionId: session,
	}})
	return ops, err
}

func connectorOf(i int) string { return fmt.Sprintf("c%d-0123456789ab", i%connectors) }

func put(key string, m proto.Message) (clientv3.Op, error) {
	value, err := proto.Marshal(m)
	return clientv3.OpPut(prefix+key, string(value)), err
}
