// Package dialback runs the server and the agent as a user runs them: the built
// programs, with their defaults.
package dialback

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dialback/dialback/bench/internal/process"
	"github.com/dialback/dialback/internal/agentconfig"
)

const (
	domain = "localhost"
	// startLimit is how long the server has to get ready, and an agent its URL.
	startLimit = 30 * time.Second
)

// ServerConfig is where a server runs.
type ServerConfig struct {
	Command process.Command
	Bin     string // folder of the built programs
	Dir     string // for its files alone
	// Host is the IP address at which agents reach it. Visitors reach it on loopback.
	Host string
}

// Server is a running dialbackd.
type Server struct {
	*process.Process
	HTTP string // "host:port" for visitors in clear text
	TLS  string // "host:port" for agents

	config    ServerConfig
	authtoken string
	pins      []string
}

// StartServer starts dialbackd with an empty store and waits until it serves.
func StartServer(ctx context.Context, cfg ServerConfig) (*Server, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	p, err := process.Start(cfg.Command, process.Spec{
		Name: "dialbackd", Path: filepath.Join(cfg.Bin, "dialbackd"), Env: environment(cfg.Dir),
		Args: []string{
			"serve", "--data", dataDir(cfg.Dir), "--http", "127.0.0.1:0", "--tls", net.JoinHostPort(cfg.Host, "0"),
			"--admin", "127.0.0.1:0", "--api", "127.0.0.1:0", "--domain", domain, "--log-format", "json",
		},
	})
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p, config: cfg}
	if err := s.becomeReady(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) becomeReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := s.WaitLine(ctx, func(line string) bool {
		var ready struct{ Msg, HTTP, TLS string }
		if json.Unmarshal([]byte(line), &ready) != nil || ready.Msg != "ready" {
			return false
		}
		s.HTTP, s.TLS = ready.HTTP, ready.TLS
		return true
	})
	if err != nil {
		return err
	}
	return s.readCredentials()
}

// readCredentials takes the authtoken and the pins from where dialbackd has put
// them for the agents of the user who started it.
func (s *Server) readCredentials() error {
	path := filepath.Join(s.config.Dir, ".config", "dialback", "config.yaml")
	config, err := agentconfig.Load(path)
	if err != nil {
		return err
	}
	known, ok := config.Servers[config.Default]
	if !ok {
		return fmt.Errorf("%s names no server", path)
	}
	s.authtoken, s.pins = known.Authtoken.Reveal(), known.Pins
	return nil
}

// AgentConfig is where an agent runs.
type AgentConfig struct {
	Command  process.Command
	Dir      string // for its files alone: an agent with a new one is a new agent
	Upstream string // "host:port" of its service
}

// Agent is a running agent whose tunnel is online.
type Agent struct {
	*process.Process
	Host string // of its public URL, with the port
}

// StartAgent starts an agent and waits until its tunnel is online.
func (s *Server) StartAgent(ctx context.Context, cfg AgentConfig) (*Agent, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	p, err := process.Start(cfg.Command, process.Spec{
		Name: "dialback", Path: filepath.Join(s.config.Bin, "dialback"),
		Env: append(environment(cfg.Dir),
			"DIALBACK_SERVER="+s.TLS, "DIALBACK_AUTHTOKEN="+s.authtoken, "DIALBACK_CA_PIN="+strings.Join(s.pins, ",")),
		Args: []string{"http", cfg.Upstream, "--domain", domain, "--log-format", "json"},
	})
	if err != nil {
		return nil, err
	}
	a := &Agent{Process: p}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := a.WaitLine(ctx, a.online); err != nil {
		p.Stop()
		return nil, err
	}
	return a, nil
}

// online takes the host from the line that tells the tunnel's URL.
func (a *Agent) online(line string) bool {
	var event struct{ Msg, URL string }
	if json.Unmarshal([]byte(line), &event) != nil || event.Msg != "tunnel online" {
		return false
	}
	u, err := url.Parse(event.URL)
	if err != nil || u.Scheme != "http" {
		return false
	}
	a.Host = u.Host
	return true
}

func dataDir(dir string) string { return filepath.Join(dir, "data") }

// environment is a user's who has nothing set, with dir as home.
func environment(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DIALBACK_DATA=" + dataDir(dir)}
}
