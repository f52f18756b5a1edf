//go:build linux

package netsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	device = "wire0"
	tunDev = "/dev/net/tun"
	// mtu is Ethernet's, so that segments are as many as on a real path.
	mtu = 1500
	// deviceQueue holds what the relay has not taken yet, in packets.
	deviceQueue = 4096
)

// Host is one end of the line: a namespace with a loopback of its own and one
// address that the other host reaches.
type Host struct {
	name string
	addr netip.Addr
	tun  int
	ns   int
}

// Name is the network namespace's, for `ip netns exec`.
func (h *Host) Name() string { return h.name }

// Addr is where the other host reaches this one.
func (h *Host) Addr() netip.Addr { return h.addr }

// Command is exec.CommandContext for a process that runs on this host. The
// process gets SIGTERM when its parent dies.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	tool, err := ipTool()
	cmd := exec.CommandContext(ctx, tool, append([]string{"netns", "exec", h.name, name}, args...)...) //nolint:gosec // running what the caller names is its purpose
	if err != nil {
		cmd.Err = err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// Listen opens a listener of this process on the host. The address holds no name
// to be resolved.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// Dial connects from the host. The address holds no name to be resolved.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Do calls f on a thread that is on the host: sockets that f itself opens belong
// there, those that other goroutines open for it do not.
func (h *Host) Do(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- h.do(f) }()
	return <-done
}

func (h *Host) do(f func() error) (err error) {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("netsim: this thread's namespace: %w", err)
	}
	defer unix.Close(home) //nolint:errcheck // read only
	if err := unix.Setns(h.ns, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("netsim: enter %s: %w", h.name, err)
	}
	defer func() {
		// A thread that cannot come back stays locked, and ends with the goroutine.
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// newHost makes the namespace and its device. On error nothing is left of it.
func newHost(ctx context.Context, name string, addr, peer netip.Addr) (h *Host, err error) {
	if err := addNamespace(ctx, name); err != nil {
		return nil, err
	}
	h = &Host{name: name, addr: addr, tun: -1, ns: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.remove(context.WithoutCancel(ctx)))
		}
	}()
	path := filepath.Join(namespaceDir, name)
	if h.ns, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("netsim: open %s: %w", path, err)
	}
	if err := h.Do(h.openDevice); err != nil {
		return nil, err
	}
	setup := []string{
		"link set lo up",
		fmt.Sprintf("link set %s mtu %d txqueuelen %d addrgenmode none", device, mtu, deviceQueue),
		fmt.Sprintf("address add %s peer %s dev %s", addr, peer, device),
		fmt.Sprintf("link set %s up", device),
	}
	return h, ip(ctx, strings.Join(setup, "\n"), "-n", name, "-batch", "-")
}

// openDevice makes the host's TUN device, which lives as long as it is open.
func (h *Host) openDevice() error {
	fd, err := unix.Open(tunDev, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("netsim: open %s: %w", tunDev, err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd) //nolint:errcheck // the first error is told
		return fmt.Errorf("netsim: make device %s: %w", device, err)
	}
	h.tun = fd
	return nil
}

// remove closes the device and deletes the namespace; a process that still runs
// there keeps what is left of it until it ends.
func (h *Host) remove(ctx context.Context) error {
	for _, fd := range []int{h.tun, h.ns} {
		if fd >= 0 {
			unix.Close(fd) //nolint:errcheck // nothing is written that could be lost
		}
	}
	return deleteNamespace(ctx, h.name)
}
