// Package relayport is where a node takes agents' connections that arrived at
// another node. What comes is what the other has peeked at and nothing else: a
// header that says from where, a ClientHello for a name of this node. It is never
// handed on again, so a stale address cannot make a loop.
package relayport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/dialback/dialback/internal/clienthello"
	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/lobby"
	"github.com/dialback/dialback/internal/proxyheader"
)

// maxWaiting bounds the connections that have not said what they are for.
const maxWaiting = 2048

// Why a connection was refused.
const (
	ForeignSource = "foreign_source"
	NoHeader      = "no_header"
	NoHello       = "no_hello"
	ForeignName   = "foreign_name"
)

var errForeign = errors.New("not from a node, nor from a configured network")

// Config says what is taken.
type Config struct {
	// Names are this node's, in canonical form.
	Names []string
	// From says whether a node may connect from an address. Whoever may is
	// believed about whom it connects for.
	From func(net.Addr) bool
	// Refused is told why a connection was not taken; nil: nobody is.
	Refused func(why string)
	Logger  *slog.Logger
}

// Conn is a connection that another node has handed over. Its RemoteAddr is the
// agent's.
type Conn struct {
	*clienthello.Replayed
	via string
}

// Via is the id of the node at which the agent has arrived.
func (c *Conn) Via() string { return c.via }

// Listen returns the listener of what is handed over on l: each a *Conn.
func Listen(l net.Listener, cfg Config) *lobby.Listener {
	return lobby.New(l, lobby.Config{Admit: cfg.admit, MaxWaiting: maxWaiting, Logger: cfg.Logger})
}

func (cfg Config) admit(ctx context.Context, raw net.Conn) (net.Conn, error) {
	c, why, err := cfg.take(ctx, raw)
	if err == nil {
		return c, nil
	}
	if cfg.Refused != nil {
		cfg.Refused(why)
	}
	return nil, fmt.Errorf("%s: %w", why, err)
}

func (cfg Config) take(ctx context.Context, raw net.Conn) (_ *Conn, why string, _ error) {
	tcp, ok := raw.(*net.TCPConn)
	if !ok || !cfg.From(raw.RemoteAddr()) {
		return nil, ForeignSource, errors.Join(errForeign, raw.Close())
	}
	c := proxyheader.NewConn(tcp)
	if err := c.ExpectRelayed(); err != nil {
		return nil, NoHeader, errors.Join(err, raw.Close())
	}
	hello, replayed, err := clienthello.Peek(ctx, c)
	if err != nil {
		return nil, NoHello, errors.Join(err, raw.Close())
	}
	name, err := hostname.Normalize(hello.ServerName)
	if err != nil || !slices.Contains(cfg.Names, name) {
		clienthello.Refuse(replayed)
		return nil, ForeignName, fmt.Errorf("no name of this node: %.80q", hello.ServerName)
	}
	return &Conn{Replayed: replayed, via: c.Via()}, "", nil
}
