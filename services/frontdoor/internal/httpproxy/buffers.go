package httpproxy

import "sync"

const copyBuffer = 32 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// buffers is ReverseProxy's source of copy buffers.
type buffers struct{}

func (buffers) Get() []byte { return copyBuffers.Get().(*[copyBuffer]byte)[:] }

func (buffers) Put(b []byte) { copyBuffers.Put((*[copyBuffer]byte)(b)) }
