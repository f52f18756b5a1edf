package httpproxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// maxReplay is how much of a request's body is kept so that the request can be
// repeated on another connection.
const maxReplay = 64 << 10

// bodyError is an error of the visitor's side.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "reading the request's body: " + e.err.Error() }

func (e *bodyError) Unwrap() error { return e.err }

// replayBody is a request's body that can be read from its beginning again, as
// long as not much of it has been read and no answer has come.
type replayBody struct {
	src io.Reader
	in  *http.Request // whose trailer is filled when src ends

	mu     sync.Mutex // held while src is read: a reader left over from a failed attempt finishes first
	kept   []byte
	end    error
	lost   bool // more was read than is kept, or the answer has begun
	reader *bodyReader
}

func newReplayBody(in *http.Request, src io.Reader) *replayBody {
	return &replayBody{src: src, in: in}
}

// from returns a reader of the whole body, nil if it cannot be had any more.
// Earlier readers end. The values of the names in trailer are filled in when the
// body has ended.
func (b *replayBody) from(trailer http.Header) io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost {
		return nil
	}
	b.reader = &bodyReader{body: b, trailer: trailer}
	return b.reader
}

// commit says that the request will not be repeated.
func (b *replayBody) commit() {
	// A read that is under way holds the lock, for as long as the visitor likes:
	// what is kept must not wait for that.
	if b.mu.TryLock() {
		defer b.mu.Unlock()
		if b.reader == nil || b.reader.at >= len(b.kept) {
			b.lost, b.kept = true, nil
		}
	}
}

// bodyReader is one attempt's reading.
type bodyReader struct {
	body    *replayBody
	trailer http.Header
	at      int
}

func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader != r {
		return 0, &bodyError{io.ErrClosedPipe}
	}
	if r.at < len(b.kept) && !b.lost {
		n := copy(p, b.kept[r.at:])
		r.at += n
		return n, nil
	}
	if b.end != nil {
		return 0, b.end
	}
	n, err := b.src.Read(p)
	b.keep(r, p[:n])
	if err != nil {
		b.finish(err)
		if err == io.EOF {
			for name := range r.trailer {
				r.trailer[name] = b.in.Trailer[name]
			}
		}
		err = b.end
	}
	return n, err
}

func (b *replayBody) keep(r *bodyReader, p []byte) {
	r.at += len(p)
	if b.lost {
		return
	}
	if len(b.kept)+len(p) > maxReplay {
		b.lost, b.kept = true, nil
		return
	}
	b.kept = append(b.kept, p...)
}

func (b *replayBody) finish(err error) {
	b.end = err
	if !errors.Is(err, io.EOF) {
		b.end = &bodyError{err}
	}
}

// Close is nothing: the server closes the body when the request is over.
func (r *bodyReader) Close() error { return nil }
