package peers_test

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/peers"
)

// conn is a connection that knows whether it is closed.
type conn struct {
	grpc.ClientConnInterface
	closed bool
}

func (c *conn) Close() error {
	c.closed = true
	return nil
}

func TestConnectionsFollowTheNodeTable(t *testing.T) {
	t.Parallel()
	list := []*nodes.Node{{ID: "own", Address: "a:1"}, {ID: "b", Address: "b:1"}, {ID: "silent"}, {ID: "bad", Address: "bad:1"}}
	made := map[string]*conn{}
	p := peers.New("own", func() []*nodes.Node { return list }, func(address string) (grpc.ClientConnInterface, error) {
		if address == "bad:1" {
			return nil, errors.New("no")
		}
		if made[address] != nil {
			t.Errorf("%s is dialled twice", address)
		}
		made[address] = &conn{}
		return made[address], nil
	}, slog.New(slog.DiscardHandler))
	for range 2 {
		if got := slices.Sorted(maps.Keys(p.Conns())); len(got) != 1 || got[0] != "b" {
			t.Errorf("peers: %v", got)
		}
	}
	list = []*nodes.Node{{ID: "c", Address: "c:1"}}
	if got := slices.Sorted(maps.Keys(p.Conns())); len(got) != 1 || got[0] != "c" || !made["b:1"].closed || made["c:1"].closed {
		t.Errorf("behind a change: %v, b closed %v", got, made["b:1"].closed)
	}
	if err := p.Close(); err != nil || !made["c:1"].closed {
		t.Errorf("closed: %v", err)
	}
}
