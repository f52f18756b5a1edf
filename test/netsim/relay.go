//go:build linux

package netsim

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many packets a relay takes before it delivers those that are due.
	batch = 64
	// relayNice is the priority of the relay's threads: the wire must not wait behind
	// the processes whose packets it carries.
	relayNice = -15
)

// relay carries packets in one direction, on one thread: it waits for a packet or
// for the moment when one is due, whichever is first.
type relay struct {
	from, to int // TUN devices, non-blocking
	stop     int // eventfd; readable: end
	line     *line
	queue    *queue
	spill    []byte // what is read while the queue is full, to be dropped
	start    time.Time

	delivered, lost, overflowed atomic.Uint64
}

// run ends when stop becomes readable, or with the error of a device.
func (r *relay) run() error {
	restore, err := raisePriority()
	if err != nil {
		return err
	}
	defer restore()
	for {
		packets, stopped, err := r.wait()
		if err != nil || stopped {
			return err
		}
		if packets {
			if err := r.take(); err != nil {
				return err
			}
		}
		r.deliver()
	}
}

// wait returns when there are packets to take, when one is due, or at the stop.
func (r *relay) wait() (packets, stopped bool, err error) {
	var timeout *unix.Timespec
	if due, ok := r.queue.due(); ok {
		t := unix.NsecToTimespec(max(0, (due - r.now()).Nanoseconds()))
		timeout = &t
	}
	fds := [2]unix.PollFd{{Fd: int32(r.from), Events: unix.POLLIN}, {Fd: int32(r.stop), Events: unix.POLLIN}}
	_, err = unix.Ppoll(fds[:], timeout, nil)
	if errors.Is(err, unix.EINTR) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("netsim: poll: %w", err)
	}
	return fds[0].Revents != 0, fds[1].Revents != 0, nil
}

// take reads what the device has, at most a batch.
func (r *relay) take() error {
	for range batch {
		slot := r.queue.free()
		full := slot == nil
		if full {
			slot = r.spill
		}
		size, err := unix.Read(r.from, slot)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("netsim: read a packet: %w", err)
		case full:
			r.overflowed.Add(1)
			continue
		}
		if due, ok := r.line.due(r.now(), size); ok {
			r.queue.push(size, due)
		} else {
			r.lost.Add(1)
		}
	}
	return nil
}

// deliver writes what is due. What a device refuses is lost, as on any wire.
func (r *relay) deliver() {
	for {
		due, ok := r.queue.due()
		if !ok || due > r.now() {
			return
		}
		if _, err := unix.Write(r.to, r.queue.pop()); err != nil {
			r.lost.Add(1)
		} else {
			r.delivered.Add(1)
		}
	}
}

func (r *relay) now() time.Duration { return time.Since(r.start) }

// raisePriority locks the goroutine to its thread and lets that go first. The
// thread is given back as it was: one that ended instead would take along the
// processes that were started on it and wish to die with their parent.
func raisePriority() (restore func(), err error) {
	runtime.LockOSThread()
	thread := unix.Gettid()
	kernel, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, thread, relayNice)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("netsim: priority: %w", err)
	}
	return func() {
		nice := 20 - kernel // the kernel's call answers 20 - nice
		if unix.Setpriority(unix.PRIO_PROCESS, thread, nice) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}
