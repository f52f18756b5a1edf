package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// comfortable is how many slots there may be before one that belongs to
	// another command line is used again.
	comfortable = 32
	// maxSlots is how many agents of one user may run for one server.
	maxSlots = 256
	// choosing is how long another process may take to choose its slot.
	choosing = 10 * time.Second
)

// Acquire takes a slot for an agent of a server that will ask for these tunnels.
// In order of preference: the slot that has them already, so that each command
// line finds its own URL again; one that has none; a new one; the one that was
// not used for longest. A file that cannot be read is moved aside, see Notice.
func Acquire(dir, server string, tunnels []Key) (*Slot, error) {
	folder := serverDir(dir, server)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of state files: %w", err)
	}
	// One process chooses at a time: while it looks at a slot, the slot would
	// seem taken to another one, which would go without its URL.
	guard, err := waitLock(filepath.Join(folder, "lock"))
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	return choose(folder, tunnels)
}

func choose(folder string, tunnels []Key) (*Slot, error) {
	var best *Slot
	var bestScore score
	last := lastSlot(folder)
	for n := 1; n <= last; n++ {
		slot, err := open(folder, n)
		if err != nil {
			return nil, errors.Join(err, best.release())
		}
		if slot == nil {
			continue
		}
		if s := slot.score(tunnels); best == nil || s.better(bestScore) {
			best, slot, bestScore = slot, best, s
		}
		if err := slot.release(); err != nil {
			return nil, err
		}
	}
	if best != nil && (bestScore.matches > 0 || bestScore.empty || last >= comfortable) {
		return best, nil
	}
	return newSlot(folder, last+1, best)
}

// newSlot takes the first free number from n on. If there is none it falls back
// to a slot that was found before.
func newSlot(folder string, n int, fallback *Slot) (*Slot, error) {
	for ; n <= maxSlots; n++ {
		slot, err := open(folder, n)
		if slot != nil || err != nil {
			return slot, errors.Join(err, fallback.release())
		}
	}
	if fallback == nil {
		return nil, fmt.Errorf("all %d state slots in %s are in use by other agents", maxSlots, folder)
	}
	return fallback, nil
}

// score says how well a slot fits.
type score struct {
	matches int
	empty   bool
	used    time.Time
}

func (s *Slot) score(tunnels []Key) score {
	result := score{empty: len(s.record.Tunnels) == 0, used: s.record.used()}
	for _, key := range tunnels {
		if _, ok := s.record.Tunnels[key.String()]; ok {
			result.matches++
		}
	}
	return result
}

func (a score) better(b score) bool {
	switch {
	case a.matches != b.matches:
		return a.matches > b.matches
	case a.empty != b.empty:
		return a.empty
	}
	return a.matches == 0 && a.used.Before(b.used)
}

func slotFile(folder string, n int) string {
	return filepath.Join(folder, fmt.Sprintf("slot-%d.json", n))
}

// lastSlot returns the highest number that has a file.
func lastSlot(folder string) int {
	for n := maxSlots; n > 0; n-- {
		if _, err := os.Lstat(slotFile(folder, n)); err == nil {
			return n
		}
	}
	return 0
}

// open takes slot n, or returns nil if another process has it or a newer
// release wrote it.
func open(folder string, n int) (*Slot, error) {
	slot := &Slot{path: slotFile(folder, n)}
	var err error
	// The lock is a file of its own: the state file is replaced at every write.
	if slot.lock, err = tryLock(slot.path + ".lock"); slot.lock == nil {
		return nil, err
	}
	if err := slot.load(); err != nil {
		err = errors.Join(err, slot.release())
		if errors.Is(err, errNewer) {
			return nil, nil
		}
		return nil, err
	}
	return slot, nil
}

func (s *Slot) load() (err error) {
	s.record, err = read(s.path)
	if err == nil || errors.Is(err, errNewer) {
		return err
	}
	aside := s.path + ".unreadable"
	if renameErr := os.Rename(s.path, aside); renameErr != nil {
		return errors.Join(fmt.Errorf("read %s: %w", s.path, err), renameErr)
	}
	s.notice = fmt.Sprintf("the state file %s cannot be read (%v); it is kept as %s, and this agent begins anew: random names change", s.path, err, aside)
	s.record = newRecord()
	return nil
}

func (s *Slot) release() error {
	if s == nil {
		return nil
	}
	return s.lock.Close()
}

// tryLock returns the locked file, or nil if another process has the lock.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- in the state folder
	if err != nil {
		return nil, fmt.Errorf("open the state's lock: %w", err)
	}
	taken, err := lock(f)
	if taken {
		return f, nil
	}
	if err != nil {
		err = fmt.Errorf("lock %s: %w", path, err)
	}
	return nil, errors.Join(err, f.Close())
}

func waitLock(path string) (*os.File, error) {
	for end := time.Now().Add(choosing); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f, err := tryLock(path); f != nil || err != nil {
			return f, err
		}
	}
	return nil, fmt.Errorf("another process holds %s for more than %v", path, choosing)
}
