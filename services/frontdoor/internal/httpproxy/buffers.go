package httpproxy

import (
	"io"
	"sync"
)

const copyBuffer = 32 << 10

// copyBuffers hold what a body's bytes pass through.
var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// pour copies to the end. flush is called behind each write; nil: nothing is.
func pour(dst io.Writer, flush func() error, src io.Reader) (n int64, err error) {
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	for {
		got, end := src.Read(buf[:])
		if got > 0 {
			n += int64(got)
			if _, err := dst.Write(buf[:got]); err != nil {
				return n, err
			}
			if flush != nil {
				if err := flush(); err != nil {
					return n, err
				}
			}
		}
		switch {
		case end == io.EOF:
			return n, nil
		case end != nil:
			return n, end
		}
	}
}
