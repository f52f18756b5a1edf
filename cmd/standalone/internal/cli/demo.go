package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/dialback/dialback/cmd/standalone/internal/sample"
	"github.com/dialback/dialback/cmd/standalone/internal/standalone"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/version"
)

// demoDrain bounds the demo's end: the agent's last word, then the server.
const demoDrain = 30 * time.Second

// demo is a server, a sample page, and an agent in front of it.
type demo struct {
	server *standalone.Server
	log    *slog.Logger
	out    io.Writer
	page   net.Listener
	ready  chan standalone.Greeting
	rest   string // its base URL, once it is ready
}

func runDemo(ctx context.Context, server *standalone.Server, log *slog.Logger, out io.Writer) error {
	page, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d := &demo{server: server, log: log, out: out, page: page, ready: make(chan standalone.Greeting, 1)}
	group := lifecycle.New(log)
	group.GoInTurn("server", func(ctx context.Context) error {
		return server.Run(ctx, func(g standalone.Greeting) { d.ready <- g })
	})
	group.Go("sample page", d.serve)
	group.GoInTurn("agent", d.connect)
	return group.Run(ctx, demoDrain)
}

func (d *demo) serve(ctx context.Context) error {
	server := &http.Server{Handler: sample.Handler(), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(d.page); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// connect runs the agent once the server is ready, with an authtoken of its own.
func (d *demo) connect(ctx context.Context) error {
	var g standalone.Greeting
	select {
	case g = <-d.ready:
	case <-ctx.Done():
		return nil
	}
	d.rest = g.REST
	home := filepath.Join(g.Data, "demo-agent")
	known, _, err := d.server.Introduce(ctx, filepath.Join(home, "config.yaml"), "made for the demo")
	if err != nil {
		return err
	}
	pins, err := known.TLSPins()
	if err != nil {
		return err
	}
	page, err := forward.ParseUpstream(d.page.Addr().String(), forward.TLSOptions{})
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{
		Address: g.Agents, Authtoken: known.Authtoken, Pins: pins,
		Tunnels:  []agent.Tunnel{{Subdomain: "demo", Upstream: page}},
		StateDir: home, Version: version.Version,
	}, agent.Deps{Log: d.log, Events: d.event})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

func (d *demo) event(e agent.Event) {
	if online, ok := e.(agent.TunnelOnline); ok && !online.Again {
		fmt.Fprintf(d.out, `
  The demo is up. Open it in a browser:

    %s

  Your own service, from another terminal:   bin/dialback http 8080
  See what is served, and why:               bin/dialbackctl get tunnels
                                             bin/dialbackctl explain %s
  REST, with the same rights:                %s/v1/tunnels
  Ctrl-C ends it.

`, online.URLs[0], online.URLs[0], d.rest)
	}
}
