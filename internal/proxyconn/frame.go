package proxyconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

const (
	headerLen    = 4
	deliveredLen = 8
	pingLen      = 8

	// MaxPayload is the longest payload of a frame, in bytes: with its header it
	// fills one TLS record.
	MaxPayload = 16380

	maxFrame = headerLen + MaxPayload
	// firstSkippable is the lowest frame type that a receiver skips if it does
	// not know it; unknown ones below are fatal.
	firstSkippable = 0x40
)

// putHeader writes a frame's header into the first four bytes of b.
func putHeader(b []byte, kind proxyv1.FrameType, payload int) {
	binary.BigEndian.PutUint32(b, uint32(kind)<<24|uint32(payload))
}

// appendControl appends a whole frame whose payload is m.
func appendControl(b []byte, kind proxyv1.FrameType, m proto.Message) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return nil, fmt.Errorf("encode %v: %w", kind, err)
	}
	size := len(b) - start - headerLen
	if size > MaxPayload {
		return nil, fmt.Errorf("encode %v: %d bytes do not fit a frame", kind, size)
	}
	putHeader(b[start:], kind, size)
	return b, nil
}

// frameReader cuts a stream into frames. It never reads past the frame that it
// is asked for, so nothing of one exchange can be left behind in a buffer of
// another; and it keeps its place when a read fails with a timeout, so that a
// deadline may be used to interrupt it.
type frameReader struct {
	src  io.Reader
	head [headerLen]byte
	have int // bytes of head that have been read

	open bool // a header has been read, its frame is not yet consumed
	kind proxyv1.FrameType
	left int    // bytes of the payload that have not been read
	body []byte // those of a control frame that have
	// admitted is set by the owner once it has judged an open DATA frame legal.
	admitted bool
}

// next reads a header unless a frame is open already.
func (r *frameReader) next() error {
	for !r.open {
		n, err := r.src.Read(r.head[r.have:])
		r.have += n
		if r.have < headerLen {
			if err == io.EOF && r.have > 0 {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
			continue
		}
		word := binary.BigEndian.Uint32(r.head[:])
		r.have = 0
		r.kind, r.left = proxyv1.FrameType(word>>24), int(word&0xffffff)
		r.open, r.admitted, r.body = true, false, r.body[:0]
		if r.left > MaxPayload {
			return violation("a frame of %d bytes", r.left)
		}
	}
	return nil
}

// take reads on until n bytes of the payload are in body.
func (r *frameReader) take(n int) ([]byte, error) {
	if len(r.body)+r.left < n {
		return nil, violation("%v of %d bytes", r.kind, len(r.body)+r.left)
	}
	if cap(r.body) < n {
		r.body = append(make([]byte, 0, max(n, 64)), r.body...)
	}
	for len(r.body) < n {
		have := len(r.body)
		m, err := r.src.Read(r.body[have:n])
		r.body = r.body[:have+m]
		r.left -= m
		if err != nil && len(r.body) < n {
			return nil, unexpected(err)
		}
	}
	return r.body[:n], nil
}

// all reads the whole payload and closes the frame. The bytes are valid until
// the next frame.
func (r *frameReader) all() ([]byte, error) {
	b, err := r.take(len(r.body) + r.left)
	if err != nil {
		return nil, err
	}
	r.open = false
	const keep = 1024 // an idle connection holds no large buffer
	if cap(r.body) > keep {
		r.body = nil
	}
	return b, nil
}

// read reads payload into p, and closes the frame behind its last byte.
func (r *frameReader) read(p []byte) (int, error) {
	n := 0
	var err error
	if r.left > 0 {
		n, err = r.src.Read(p[:min(len(p), r.left)])
		r.left -= n
	}
	if r.left == 0 {
		r.open = false
		return n, nil
	}
	if n > 0 {
		return n, nil // an error will come again
	}
	return 0, unexpected(err)
}

// unexpected turns an EOF in the middle of something into the error it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
