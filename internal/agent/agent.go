// Package agent is the engine of the agent: it keeps a session with a server,
// its tunnels on it, dials back when visitors come, and brings them to local
// services. The command line is one user of it.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/agent/backoff"
	"github.com/dialback/dialback/internal/agent/dialer"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/agent/spans"
	"github.com/dialback/dialback/internal/agent/state"
	"github.com/dialback/dialback/internal/agentconfig"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	defaultMaxConnections = 512
	defaultAttachments    = 2
)

// Config is what the agent's owner wants.
type Config struct {
	// Address of the server, "host:port".
	Address string
	// Domain of the deployment; empty: the address's host.
	Domain string
	// Authtoken that the server's operator gave out.
	Authtoken secret.String
	// Pins of the authorities that may sign the server's certificate; none: the
	// system's authorities.
	Pins []tlsconf.Pin
	// Tunnels to open; none: Run only keeps a session.
	Tunnels []Tunnel
	// StateDir keeps the agent's identity over restarts; see state.DefaultDir.
	StateDir string
	// MaxConnections is how many proxy connections there may be; 0: 512.
	MaxConnections int
	// Attachments is to how many connectors the agent attaches, if there are so
	// many; 0: 2.
	Attachments int
	// FailFast has Run return ErrCannotConnect if the first try fails.
	FailFast bool
	// Version of the program.
	Version string
}

// Protocol is what a tunnel carries.
type Protocol string

// The protocols.
const (
	// HTTP is requests, at a name.
	HTTP Protocol = "http"
	// TCP is connections as they are, at a port.
	TCP Protocol = "tcp"
)

// Tunnel is one public endpoint that leads to a local service.
type Tunnel struct {
	// Protocol of the tunnel; empty: HTTP.
	Protocol Protocol
	// Hostname or Subdomain is the wanted name; neither: a random one, the same
	// at each start.
	Hostname, Subdomain string
	// RemotePort is the wanted port of a TCP tunnel; 0: any, the same at each start.
	RemotePort uint16
	// Upstream is the local service.
	Upstream forward.Upstream
	// Pooling lets others of the account that want it too serve the same name.
	Pooling bool
	// BasicAuth are the users whom visitors can be; none: anyone may visit.
	BasicAuth []Credential
}

// name is what the tunnel asks for, or empty.
func (t Tunnel) name() string {
	switch {
	case t.RemotePort != 0:
		return strconv.Itoa(int(t.RemotePort))
	case t.Hostname != "":
		return t.Hostname
	}
	return t.Subdomain
}

func (t Tunnel) key() state.Key {
	return state.Key{Protocol: string(t.Protocol), Address: t.Upstream.String(), Name: t.name()}
}

// check completes the tunnel and says what is wrong with it.
func (t *Tunnel) check() error {
	if t.Protocol == "" {
		t.Protocol = HTTP
	}
	switch {
	case t.Protocol != HTTP && t.Protocol != TCP:
		return fmt.Errorf("a tunnel of protocol %q: want %s or %s", t.Protocol, HTTP, TCP)
	case t.Hostname != "" && t.Subdomain != "":
		return errors.New("a tunnel has a hostname or a subdomain, not both")
	case t.Protocol == HTTP && t.RemotePort != 0:
		return errors.New("only a tcp tunnel has a port")
	case t.Protocol == TCP && t.Hostname+t.Subdomain != "":
		return errors.New("a tcp tunnel has a port, not a name")
	case t.Protocol == TCP && t.Pooling:
		return errors.New("pooling is for http tunnels")
	case t.Protocol == TCP && len(t.BasicAuth) > 0:
		return errors.New("only visitors of an http tunnel can log in")
	}
	return nil
}

// Deps are what an Agent works with.
type Deps struct {
	// Log takes what only a developer wants to know.
	Log *slog.Logger
	// Events takes what the owner wants to know, one at a time; nil: nobody
	// listens. It must not block.
	Events func(Event)
}

// Agent keeps tunnels open.
type Agent struct {
	config  Config
	log     *slog.Logger
	options []options

	emitting sync.Mutex
	events   func(Event)
}

// New checks the configuration.
func New(config Config, deps Deps) (*Agent, error) {
	var err error
	if config.Address, err = agentconfig.ParseAddress(config.Address); err != nil {
		return nil, err
	}
	if config.Domain, err = agentconfig.DomainOf(config.Address, config.Domain); err != nil {
		return nil, err
	}
	if config.MaxConnections == 0 {
		config.MaxConnections = defaultMaxConnections
	}
	if config.Attachments == 0 {
		config.Attachments = defaultAttachments
	}
	a := &Agent{config: config, log: deps.Log, events: deps.Events}
	a.config.Tunnels = slices.Clone(config.Tunnels)
	for i := range a.config.Tunnels {
		t := &a.config.Tunnels[i]
		if err := t.check(); err != nil {
			return nil, err
		}
		if t.Pooling && t.name() == "" {
			return nil, errors.New("pooling needs a hostname or a subdomain that every member asks for")
		}
		o, err := newOptions(t.BasicAuth)
		if err != nil {
			return nil, err
		}
		if t.Pooling {
			o.critical = append(o.critical, criticalPooling)
		}
		a.options = append(a.options, o)
	}
	return a, nil
}

// Run serves until ctx ends, whereupon it closes its tunnels, lets visitors
// finish for some seconds and returns nil. Without that it returns only for what
// no further try can mend; see Classify.
func (a *Agent) Run(ctx context.Context) error {
	a.emit(Connecting{Server: a.config.Address})
	keys := make([]state.Key, len(a.config.Tunnels))
	for i, t := range a.config.Tunnels {
		keys[i] = t.key()
	}
	slot, err := state.Acquire(a.config.StateDir, a.config.Address, keys)
	if err != nil {
		return err
	}
	defer func() { _ = slot.Close() }() // nothing of it can fail but the lock's release, which the process's end does too
	if notice := slot.Notice(); notice != "" {
		a.emit(Notice{Text: notice})
	}
	r, err := a.newRun(slot)
	if err != nil {
		return err
	}
	return r.run(ctx)
}

// emit hands out an event. The lock keeps the listener from being called by two
// goroutines at once.
func (a *Agent) emit(e Event) {
	if a.events == nil {
		return
	}
	a.emitting.Lock()
	defer a.emitting.Unlock()
	a.events(e)
}

func (a *Agent) newRun(slot *state.Slot) (*run, error) {
	r := &run{
		Agent: a, slot: slot,
		news: make(chan news), tried: make(chan try, 1), over: make(chan struct{}),
		wait: backoff.New(retryBase, retryLimit), filling: filling{wait: backoff.New(fillBase, fillLimit)},
	}
	_, _ = rand.Read(r.instance[:]) // never fails
	var err error
	if r.spans, err = spans.New(context.Background(), a.config.Version, fmt.Sprintf("%x", r.instance[:4])); err != nil {
		return nil, err
	}
	r.forward = forward.New(r.spans, func(report forward.Report) { a.emit(Upstream{report}) })
	r.dialer, err = dialer.New(dialer.Config{
		Domain: a.config.Domain, Address: a.config.Address, MaxConnections: a.config.MaxConnections, Version: a.config.Version,
	}, dialer.Deps{Log: a.log, Spans: r.spans, Serve: r.forward.Handler})
	if err != nil {
		return nil, err
	}
	for i, t := range a.config.Tunnels {
		r.tunnels = append(r.tunnels, &tunnel{Tunnel: t, options: a.options[i], on: map[*attachment]struct{}{}})
	}
	r.register()
	return r, nil
}

// tunnel is a configured tunnel's life.
type tunnel struct {
	Tunnel
	options options
	id      string // changes only while there is no attachment

	mu sync.Mutex
	// on are the attachments that serve it.
	on map[*attachment]struct{}
	// urls are the latest ones; none: it was never online.
	urls []string
	// lost says that it is not online, though it was.
	lost bool
	// waiting says that the owner knows that it is refused for now.
	waiting bool
}

// register draws or finds the tunnels' ids and serves them.
func (r *run) register() {
	for _, t := range r.tunnels {
		id, err := r.slot.TunnelID(t.key())
		if err != nil {
			// The tunnel works without; only its random name will be another one
			// at the next start.
			r.emit(Notice{Text: fmt.Sprintf("the state file cannot be written: %v", err)})
		}
		r.forward.Unregister(t.id)
		t.id = id
		r.forward.Register(id, t.Upstream)
	}
}

// timings of the engine.
const (
	retryBase   = 250 * time.Millisecond
	retryLimit  = 15 * time.Second
	lostJitter  = 100 * time.Millisecond // before the first try behind a session that worked
	workedFor   = 5 * time.Second        // a session that lasted so long has worked
	slowRetry   = 30 * time.Second       // for what will hardly change
	bindTimeout = 20 * time.Second       // for the answer to ReqTunnel
	settleLimit = 10 * time.Second       // a new attachment's tunnels, before it counts as it is
	overlap     = time.Second            // both attachments serve, before the old one is left
	maxSpread   = time.Minute
	fillBase    = 2 * time.Second // tries at one more attachment that failed
	fillLimit   = time.Minute
	closeLimit  = time.Second // for TunnelClosed
	linger      = time.Second // visitors whose frontdoor does not know yet
	finishLimit = 5 * time.Second
	flushLimit  = time.Second // for the last spans
)
