package http1

import (
	"io"
	"time"
)

// lingerFor is how long a visitor has to read his answer while he is still sending.
const lingerFor = 500 * time.Millisecond

// linger ends our direction and waits for the visitor's end. A plain close would
// answer what he is sending with a reset, which destroys what he has not read yet.
// It does not read all that he sends: he may have much.
func (c *conn) linger() {
	over := time.NewTimer(lingerFor)
	defer over.Stop()
	_ = c.raw.SetDeadline(deadline(lingerFor))
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, c.raw, maxDrain); err == nil {
		<-over.C
	}
}
