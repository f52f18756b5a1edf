package throughput

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/dialback/dialback/bench/internal/dialback"
	"github.com/dialback/dialback/bench/internal/nginx"
	"github.com/dialback/dialback/bench/internal/process"
	"github.com/dialback/dialback/bench/internal/scenario"
)

const loopback = "127.0.0.1"

// target is one way to the service.
type target struct {
	name string
	url  string
	host string // of the requests; empty: the URL's
}

// The names of the targets, as they are in the tables.
const (
	direct    = "nginx"
	viaNginx  = "nginx as reverse proxy"
	viaTunnel = "Dialback"
)

// site is all programs of this scenario.
type site struct {
	targets   []target
	processes []*process.Process // in the order of their start
}

func (s *site) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		s.processes[i].Stop()
	}
}

// alive fails when one of the programs has ended.
func (s *site) alive() error {
	for _, p := range s.processes {
		if err := p.Alive(); err != nil {
			return err
		}
	}
	return nil
}

// start runs the programs. stop ends those that were started, also behind an error.
func (s *site) start(ctx context.Context, env scenario.Env) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	service, proxy := ports[0], ports[1]
	if err := s.add(nginx.StartService(ctx, process.Local, filepath.Join(env.Dir, "service"), service)); err != nil {
		return err
	}
	if err := s.add(nginx.StartProxy(ctx, process.Local, filepath.Join(env.Dir, "proxy"), proxy, service)); err != nil {
		return err
	}
	server, err := dialback.StartServer(ctx, dialback.ServerConfig{
		Command: process.Local, Bin: env.Bin, Dir: filepath.Join(env.Dir, "server"), Host: loopback,
	})
	if err != nil {
		return err
	}
	s.processes = append(s.processes, server.Process)
	agent, err := server.StartAgent(ctx, dialback.AgentConfig{
		Command: process.Local, Dir: filepath.Join(env.Dir, "agent"), Upstream: service,
	})
	if err != nil {
		return err
	}
	s.processes = append(s.processes, agent.Process)
	s.targets = []target{
		{name: direct, url: "http://" + service + "/"},
		{name: viaNginx, url: "http://" + proxy + "/"},
		{name: viaTunnel, url: "http://" + server.HTTP + "/", host: agent.Host},
	}
	return s.probe(ctx)
}

func (s *site) add(p *process.Process, err error) error {
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return err
}

// probe makes sure that each target answers with the service's file.
func (s *site) probe(ctx context.Context) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, t := range s.targets {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
		if err != nil {
			return err
		}
		req.Host = t.host
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		size, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if resp.StatusCode != http.StatusOK || size != nginx.FileSize {
			return fmt.Errorf("%s answers %s with %d bytes, want 200 with %d", t.name, resp.Status, size, nginx.FileSize)
		}
	}
	return nil
}

// freePorts returns addresses on loopback that nothing listens on: nginx can't be
// asked which port it took.
func freePorts(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			return nil, err
		}
		defer listener.Close() //nolint:gocritic // all stay open until all are chosen
		addresses[i] = listener.Addr().String()
	}
	return addresses, nil
}
