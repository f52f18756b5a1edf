package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// sample is the service that nobody could reach from outside.
type sample struct {
	listener net.Listener
	server   *http.Server
}

func startSample(ctx context.Context) (*sample, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sample{listener: l, server: &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			fmt.Fprintf(w, "Hello from behind Dialback.\n%s %s for %s\ntraceparent %s\n", // #nosec G705 -- plain text
				r.Method, r.URL.Path, r.Header.Get("X-Forwarded-For"), r.Header.Get("Traceparent"))
		})}}
	go func() { _ = s.server.Serve(l) }() // ends with close
	return s, nil
}

func (s *sample) close() error { return s.server.Close() }

// startAgent makes an authtoken and starts an agent with it. It asks for no name:
// which one it got is kept for it, whatever is killed.
func (c *Cluster) startAgent(ctx context.Context) (err error) {
	if c.sample, err = startSample(ctx); err != nil {
		return err
	}
	var created struct {
		Authtoken, Server string
		Pins              []string
	}
	if err := until(ctx, "auth makes an authtoken", func(ctx context.Context) error {
		text, err := c.Ctl(ctx, "token", "create", "--output", "json")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &created)
	}); err != nil {
		return err
	}
	c.agentEnv = []string{"XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "DIALBACK_CONFIG=", "DIALBACK_SERVER=" + created.Server,
		"DIALBACK_AUTHTOKEN=" + created.Authtoken, "DIALBACK_CA_PIN=" + created.Pins[0]}
	if err := c.start(c.agentPart("agent-1")); err != nil {
		return err
	}
	return until(ctx, "a visitor is served", c.visit)
}

// agentPart is an agent of the sample service, with an identity of its own.
func (c *Cluster) agentPart(name string, args ...string) *Part {
	return &Part{
		Name: name, Kind: Agent, program: filepath.Join(c.config.Bin, "dialback"),
		args: append(append([]string{"http", "--log-format", "json"}, args...), c.sample.listener.Addr().String()),
		env:  append([]string{"HOME=" + filepath.Join(c.config.Dir, name)}, c.agentEnv...),
	}
}

// publicURL is how the agent says where it is; of two addresses the plain one.
func (c *Cluster) publicURL() *regexp.Regexp {
	if c.config.OnePort {
		return regexp.MustCompile(`https://[a-z0-9.-]+:\d+`)
	}
	return regexp.MustCompile(`http://[a-z0-9.-]+:\d+`)
}

// visit learns the URL from the agent and makes one request.
func (c *Cluster) visit(ctx context.Context) error {
	text, err := os.ReadFile(c.Part("agent-1").Log())
	if err != nil {
		return err
	}
	if c.URL = string(c.publicURL().Find(text)); c.URL == "" {
		return errors.New("the agent has no URL yet")
	}
	visitor := NewVisitor(c)
	defer visitor.Close()
	return visitor.Get(ctx)
}
