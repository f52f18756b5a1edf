// Package tcpport serves visitors of TCP endpoints: it listens on the ports that
// the routes say, and moves the bytes of each connection, as they are.
package tcpport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
	"github.com/dialback/dialback/services/frontdoor/internal/quota"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// prefix of a port's name in the registry: a hostname has no colon.
	prefix = "tcp:"
	// retryAfter is how long a port rests that could not be listened on.
	retryAfter = 5 * time.Second
	// sweepEvery is how often streams are looked at that may have lost their other
	// end while their visitor does not read.
	sweepEvery = 250 * time.Millisecond
)

var errOverloaded = errs.New(errs.Unavailable, errs.ReasonOverloaded,
	"this server has too many connections at the same time").WithRetry(time.Second)

// Config is where to listen, and the bounds.
type Config struct {
	// Host is the address to listen on; empty: all.
	Host string
	// MaxConns bounds visitors' connections, MaxConnsPort those of one port.
	MaxConns, MaxConnsPort int
	// Behind are the networks of load balancers that say for whom they connect.
	Behind proxyheader.Networks
	// Domain is the deployment's, in public URLs.
	Domain string
}

// Deps are what Ports work with.
type Deps struct {
	Finder *reach.Finder
	// Quota counts visitors in, by the account of their endpoint.
	Quota *quota.Quota
	// Keep takes proxy connections whose exchange has ended.
	Keep func(*dialback.Conn)
	// MACKey is the key of trace MACs; empty until it is known.
	MACKey func() []byte
	// Report is told of the ports that cannot be listened on, all that there are,
	// whenever they are others.
	Report func(problems map[uint16]string)
	// Observe is told of each connection that is over.
	Observe   func(Visit)
	Telemetry *telemetry.Telemetry
	Logger    *slog.Logger
}

// Ports are the listeners of TCP endpoints.
type Ports struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	trace *tracing
	kick  chan struct{}

	life context.Context // of visitors' connections
	end  context.CancelFunc

	wantMu sync.Mutex
	wanted map[uint16]bool

	mu       sync.Mutex // guards what is open
	draining bool
	open     map[uint16]*ingress.Raw
	problems map[uint16]string
	serving  sync.WaitGroup

	streams streams
}

// New returns ports without any listener.
func New(cfg Config, deps Deps) *Ports {
	p := &Ports{
		cfg: cfg, deps: deps, log: deps.Logger, kick: make(chan struct{}, 1), trace: newTracing(deps),
		wanted: map[uint16]bool{}, open: map[uint16]*ingress.Raw{}, problems: map[uint16]string{},
	}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// Changed is told by the table of a route that is another one now; either may be
// nil. It does not block.
func (p *Ports) Changed(old, now *route.Route) {
	r := now
	if r == nil {
		r = old
	}
	if r == nil {
		return
	}
	port := portOf(r.Claim.Hostname)
	if port == 0 {
		return
	}
	p.wantMu.Lock()
	before := p.wanted[port]
	// Without an agent the port stays open: it is expected back.
	if now != nil && !now.Claim.Parked && now.Claim.Protocol == route.ProtocolTCP {
		p.wanted[port] = true
	} else {
		delete(p.wanted, port)
	}
	changed := before != p.wanted[port]
	p.wantMu.Unlock()
	if !changed {
		return
	}
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// portOf returns the port that an endpoint's name stands for; 0: it is a hostname.
func portOf(name string) uint16 {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// Problem is why the port that an endpoint's name stands for cannot be listened
// on; "": it can, or it is none.
func (p *Ports) Problem(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.problems[portOf(name)]
}

// Run opens and closes listeners as the routes want it, until ctx ends.
func (p *Ports) Run(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	retry := time.NewTimer(retryAfter)
	defer retry.Stop()
	for {
		select {
		case <-p.kick:
		case <-retry.C:
		case <-sweep.C:
			p.streams.sweep()
			continue
		case <-ctx.Done():
			p.closeAll()
			p.end()
			p.streams.abort()
			p.serving.Wait()
			return nil
		}
		p.settle(ctx)
		retry.Reset(retryAfter)
	}
}

// settle makes the listeners those that are wanted.
func (p *Ports) settle(ctx context.Context) {
	p.wantMu.Lock()
	wanted := maps.Clone(p.wanted)
	p.wantMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return
	}
	problems := map[uint16]string{}
	for port, l := range p.open {
		if !wanted[port] {
			_ = l.Close()
			delete(p.open, port)
			p.log.Info("a port is closed", "port", port)
		}
	}
	for port := range wanted {
		if p.open[port] != nil {
			continue
		}
		if err := p.listen(ctx, port); err != nil {
			problems[port] = reasonOf(err)
			if p.problems[port] != problems[port] {
				p.log.Error("a port cannot be listened on; trying again", "port", port, "error", err)
			}
		}
	}
	if !maps.Equal(problems, p.problems) {
		p.problems = problems
		p.deps.Report(problems)
	}
}

// reasonOf leaves out what the reader of a problem knows: the port.
func reasonOf(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

func (p *Ports) listen(ctx context.Context, port uint16) error {
	address := net.JoinHostPort(p.cfg.Host, strconv.Itoa(int(port)))
	l, err := ingress.Listen(ctx, address)
	if err != nil {
		return err
	}
	name := prefix + strconv.Itoa(int(port))
	raw := ingress.NewRaw(l, p.cfg.MaxConnsPort, p.cfg.Behind, func(ctx context.Context, c *ingress.Conn) {
		p.serve(ctx, c, name)
	}, p.log)
	p.open[port] = raw
	p.serving.Go(func() { _ = raw.Run(p.life) }) // it ends by its listener's close
	p.log.Info("a port is open", "port", port, "address", l.Addr().String())
	return nil
}

func (p *Ports) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for port, l := range p.open {
		_ = l.Close()
		delete(p.open, port)
	}
}

// Drain takes no new visitors and lets those who are here finish until ctx ends:
// then they are cut off.
func (p *Ports) Drain(ctx context.Context) error {
	p.closeAll()
	quiet := make(chan struct{})
	go func() {
		p.serving.Wait()
		close(quiet)
	}()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	p.end()
	p.streams.abort()
	<-quiet
	return nil
}
