package http1

import (
	"io"
	"net/http"
	"sync/atomic"
)

// maxDrain is how much of a request that its handler has not read is read all the
// same, so that the next one can be.
const maxDrain = 256 << 10

// body is a request's.
type body struct {
	src io.Reader // net/http's, which lets one read at a time
	// proceed is called before the first byte is waited for: the visitor may hold it
	// back until he is told to go on. Nil: he does not.
	proceed func()
	left    atomic.Int64 // bytes to come; negative: they are chunks
	ended   atomic.Bool  // it was read to its end
	broken  atomic.Bool  // it has none: nothing behind it can be understood
	closed  atomic.Bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.proceed != nil {
		b.proceed()
	}
	return b.read(p)
}

func (b *body) read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if b.left.Load() > 0 {
		b.left.Add(-int64(n))
	}
	switch err {
	case nil:
	case io.EOF:
		b.ended.Store(true)
	default:
		b.broken.Store(true)
	}
	return n, err
}

// Close implements io.Closer. What has not been read is the connection's to settle.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// hopeless holds if what is left cannot be read, or is not worth it.
func (b *body) hopeless() bool {
	return !b.ended.Load() && (b.broken.Load() || b.left.Load() > maxDrain)
}

// drain reads the rest, if there is hope.
func (b *body) drain() {
	if !b.hopeless() {
		_, _ = io.CopyN(io.Discard, readerFunc(b.read), maxDrain)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
