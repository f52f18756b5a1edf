package process

import (
	"bytes"
	"strings"
	"sync"
)

const (
	// keptLines is how much of a program's output is remembered.
	keptLines = 200
	// maxLine bounds a line; the rest of a longer one is the next line.
	maxLine = 16 << 10
)

// output remembers the last lines that a program has printed.
type output struct {
	mu      sync.Mutex
	partial []byte
	lines   []string
	count   uint64        // of all lines ever
	more    chan struct{} // closed at the next line
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, b...)
	for {
		line, rest, whole := bytes.Cut(o.partial, []byte("\n"))
		if !whole && len(line) < maxLine {
			return len(b), nil
		}
		o.add(string(line))
		o.partial = rest
	}
}

func (o *output) add(line string) {
	o.lines = append(o.lines, line)
	if len(o.lines) > keptLines {
		o.lines = o.lines[1:]
	}
	o.count++
	close(o.more)
	o.more = make(chan struct{})
}

// since returns the lines behind the first seen ones as far as they are
// remembered, how many there have been now, and what is closed when there are more.
func (o *output) since(seen uint64) (lines []string, next uint64, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := min(o.count-seen, uint64(len(o.lines)))
	return append([]string(nil), o.lines[uint64(len(o.lines))-fresh:]...), o.count, o.more
}

// tail returns the last lines for an error message.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	const shown = 20
	return strings.Join(o.lines[max(0, len(o.lines)-shown):], "\n")
}
