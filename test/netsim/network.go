//go:build linux

package netsim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// defaultQueue holds 20 ms at 3 Gbit/s.
const defaultQueue = 8192

// cleanupLimit bounds the removal of two namespaces.
const cleanupLimit = 10 * time.Second

// Config describes the line. Both directions are alike.
type Config struct {
	RTT    time.Duration // round trip: half of it each way
	Jitter time.Duration // up to this much more for each packet; the order stays
	Loss   float64       // share of packets that is lost, 0 to 1; the same ones in each run
	Rate   int64         // bits a second; 0: what the machine can do
	Queue  int           // packets under way in one direction, more are dropped; 0: 8192
}

func (c Config) validate() error {
	switch {
	case c.RTT < 0 || c.Jitter < 0:
		return fmt.Errorf("netsim: a round trip of %v with a jitter of %v: below zero", c.RTT, c.Jitter)
	case c.Loss < 0 || c.Loss >= 1:
		return fmt.Errorf("netsim: a loss of %v: want 0 or more, less than 1", c.Loss)
	case c.Rate < 0 || c.Queue < 0:
		return fmt.Errorf("netsim: a rate of %d and a queue of %d: below zero", c.Rate, c.Queue)
	}
	return nil
}

// Network is two hosts and the line between them.
type Network struct {
	A, B *Host

	config Config
	relays []*relay
	stop   int
	tasks  sync.WaitGroup
	failed []error // one a relay, written before tasks is done
	closed func() error
}

// Stats counts packets, of both directions together.
type Stats struct {
	Delivered  uint64
	Lost       uint64 // on purpose, by Config.Loss, or refused by a device
	Overflowed uint64 // dropped because the queue was full
}

// Supported says what is missing on this machine; nil: New will work.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("netsim: network namespaces need root")
	}
	if _, err := os.Stat(tunDev); err != nil {
		return fmt.Errorf("netsim: TUN devices: %w", err)
	}
	_, err := ipTool()
	return err
}

// New makes two hosts. ctx bounds the making alone; Close ends the network. What a
// process left that crashed is removed by the next New of any process.
func New(ctx context.Context, cfg Config) (*Network, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := Supported(); err != nil {
		return nil, err
	}
	if err := removeStale(ctx); err != nil {
		return nil, err
	}
	if cfg.Queue == 0 {
		cfg.Queue = defaultQueue
	}
	n := &Network{config: cfg}
	n.closed = sync.OnceValue(n.close)
	if err := n.addHosts(ctx); err != nil {
		return nil, err
	}
	if err := n.startRelays(); err != nil {
		return nil, errors.Join(err, n.removeHosts())
	}
	return n, nil
}

// addHosts gives them addresses of the range that is set apart for measurements of
// networks (RFC 2544); since each pair has namespaces of its own, all use the same.
func (n *Network) addHosts(ctx context.Context) (err error) {
	a, b, err := namespaces()
	if err != nil {
		return err
	}
	addrA, addrB := netip.AddrFrom4([4]byte{198, 18, 0, 1}), netip.AddrFrom4([4]byte{198, 18, 0, 2})
	if n.A, err = newHost(ctx, a, addrA, addrB); err != nil {
		return err
	}
	if n.B, err = newHost(ctx, b, addrB, addrA); err != nil {
		return errors.Join(err, n.A.remove(context.WithoutCancel(ctx)))
	}
	return nil
}

func (n *Network) startRelays() error {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("netsim: eventfd: %w", err)
	}
	n.stop = stop
	start := time.Now()
	for i, ends := range [][2]*Host{{n.A, n.B}, {n.B, n.A}} {
		n.relays = append(n.relays, &relay{
			from: ends[0].tun, to: ends[1].tun, stop: stop, start: start,
			line: newLine(n.config, uint64(i)), queue: newQueue(n.config.Queue, mtu), spill: make([]byte, mtu),
		})
	}
	n.failed = make([]error, len(n.relays))
	for i, r := range n.relays {
		n.tasks.Go(func() { n.failed[i] = r.run() })
	}
	return nil
}

// Stats returns what the line has carried so far.
func (n *Network) Stats() Stats {
	var s Stats
	for _, r := range n.relays {
		s.Delivered += r.delivered.Load()
		s.Lost += r.lost.Load()
		s.Overflowed += r.overflowed.Load()
	}
	return s
}

// Close cuts the line and removes both hosts. End their processes first. It
// returns the error of a relay too that has ended early. It may be called again.
func (n *Network) Close() error { return n.closed() }

func (n *Network) close() error {
	one := [8]byte{1} // stays readable, so it ends both relays
	_, err := unix.Write(n.stop, one[:])
	if err != nil {
		return fmt.Errorf("netsim: stop: %w", err)
	}
	n.tasks.Wait()
	unix.Close(n.stop) //nolint:errcheck // nothing is written that could be lost
	return errors.Join(append(n.failed, n.removeHosts())...)
}

func (n *Network) removeHosts() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
	defer cancel()
	return errors.Join(n.A.remove(ctx), n.B.remove(ctx))
}
