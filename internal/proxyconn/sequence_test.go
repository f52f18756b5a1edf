package proxyconn

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// word is the unit of every stream in the sequence test: which exchange it
// belongs to, which side wrote it, and where it stands. A word in a stream where
// it does not belong is a leak between visitors.
const word = 16

func pattern(exchange, side, words int) []byte {
	b := make([]byte, 0, words*word)
	for i := range words {
		b = binary.BigEndian.AppendUint32(b, uint32(exchange))
		b = binary.BigEndian.AppendUint32(b, uint32(side))
		b = binary.BigEndian.AppendUint64(b, uint64(i))
	}
	return b
}

// prefixOf says whether got is the beginning of the pattern.
func prefixOf(got []byte, exchange, side int) error {
	want := pattern(exchange, side, len(got)/word+1)
	if !bytes.HasPrefix(want, got) {
		return fmt.Errorf("exchange %d, side %d: foreign or damaged bytes", exchange, side)
	}
	return nil
}

// plan is one exchange of the sequence.
type plan struct {
	refuse                   bool
	visitorWords, replyWords int
	visitorChunk, replyChunk int
	// After how many words the visitor aborts, stops reading, or the service
	// resets; negative: never.
	visitorAborts, visitorDeaf, serviceResets int
	serviceWaits                              bool // for the end of input before it replies
	dial                                      time.Duration
	tunnelCloses                              bool
}

func (p plan) clean() bool {
	return !p.refuse && p.visitorAborts < 0 && p.visitorDeaf < 0 && p.serviceResets < 0 && !p.tunnelCloses
}

func randomPlan(r *rand.Rand) plan {
	p := plan{
		visitorWords: r.IntN(9000), replyWords: r.IntN(9000),
		visitorChunk: 1 + r.IntN(40_000), replyChunk: 1 + r.IntN(40_000),
		visitorAborts: -1, visitorDeaf: -1, serviceResets: -1,
		serviceWaits: r.IntN(2) == 0,
		dial:         time.Duration(r.IntN(2000)) * time.Microsecond,
	}
	if r.IntN(4) == 0 {
		p.visitorWords = r.IntN(5)
	}
	switch r.IntN(8) {
	case 0:
		p.refuse = true
	case 1:
		p.visitorAborts = r.IntN(p.replyWords + 1)
	case 2:
		p.visitorDeaf = r.IntN(p.replyWords + 1)
	case 3:
		p.serviceResets = r.IntN(p.visitorWords + 1)
	case 4:
		p.tunnelCloses = true
	}
	return p
}

// serve is the agent's side of a plan: private connection and local service.
func (p plan) serve(t *testing.T, e *ClientExchange, n int, service *sync.WaitGroup) {
	<-time.After(p.dial)
	if p.refuse {
		_ = e.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
		return
	}
	private, far := tcpPair(t)
	service.Go(func() { p.speak(t, far, n) })
	if e.Accept(p.dial) != nil {
		_ = private.Close()
		return
	}
	if p.tunnelCloses {
		time.AfterFunc(p.dial, func() { e.Reset(proxyv1.Code_CODE_TUNNEL_CLOSED) })
	}
	_ = e.Pipe(private, nil)
}

// speak is the local service.
func (p plan) speak(t *testing.T, c *net.TCPConn, n int) {
	defer c.Close()
	replied := make(chan struct{})
	reply := func() {
		defer close(replied)
		writeIn(c, pattern(n, 2, p.replyWords), p.replyChunk)
		_ = c.CloseWrite()
	}
	if p.serviceResets >= 0 {
		got, _ := io.ReadAll(io.LimitReader(c, int64(p.serviceResets*word)))
		check(t, prefixOf(got, n, 1))
		_ = c.SetLinger(0)
		return
	}
	if !p.serviceWaits {
		go reply()
	}
	got, err := io.ReadAll(c)
	check(t, prefixOf(got, n, 1))
	if p.clean() && (err != nil || len(got) != p.visitorWords*word) {
		t.Errorf("exchange %d: the service got %d bytes of %d, %v", n, len(got), p.visitorWords*word, err)
	}
	if p.serviceWaits {
		reply()
	}
	<-replied
}

// visit is the visitor's side of a plan.
func (p plan) visit(t *testing.T, e *ServerExchange, n int) {
	var writer sync.WaitGroup
	writer.Go(func() {
		writeIn(e, pattern(n, 1, p.visitorWords), p.visitorChunk)
		_ = e.CloseWrite()
	})
	limit := int64(1 << 40)
	if p.visitorAborts >= 0 {
		limit = int64(p.visitorAborts * word)
	} else if p.visitorDeaf >= 0 {
		limit = int64(p.visitorDeaf * word)
	}
	got, err := io.ReadAll(io.LimitReader(e, limit))
	check(t, prefixOf(got, n, 2))
	switch {
	case p.clean() && (err != nil || len(got) != p.replyWords*word):
		t.Errorf("exchange %d: the visitor got %d bytes of %d, %v", n, len(got), p.replyWords*word, err)
	case p.visitorAborts >= 0:
		_ = e.Close()
	case p.visitorDeaf >= 0:
		e.CloseRead()
	}
	writer.Wait()
	select {
	case <-e.End():
	case <-time.After(patience):
		t.Fatalf("exchange %d, %+v: no end", n, p)
	}
	o := e.Outcome()
	var wrong *ProtocolError
	if errors.As(o.Err, &wrong) || p.clean() && o.Kind != Clean || !o.Reusable {
		t.Errorf("exchange %d, %+v: %+v", n, p, o)
	}
	_ = e.Close()
}

func writeIn(w io.Writer, b []byte, chunk int) {
	for len(b) > 0 {
		n, err := w.Write(b[:min(chunk, len(b))])
		if err != nil {
			return
		}
		b = b[n:]
	}
}

func check(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

// Exchanges of every kind follow each other on one connection, ending in every
// order, and no byte of one is seen in another. All of them are within the
// bounds that let a connection survive, so it has to.
func TestRandomSequences(t *testing.T) {
	t.Parallel()
	const connections, exchanges = 4, 60
	for range connections {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runSequence(t, seed, exchanges)
		})
	}
}

func runSequence(t *testing.T, seed uint64, exchanges int) {
	r := rand.New(rand.NewPCG(seed, 0))
	plans := make([]plan, exchanges+1)
	for i := range plans {
		plans[i] = randomPlan(r)
	}
	var services sync.WaitGroup
	s, _ := pair(t, func(_ context.Context, e *ClientExchange) {
		n := int(e.Start().GetExchange())
		plans[n].serve(t, e, n, &services)
	})
	for n := 1; n <= exchanges && !t.Failed(); n++ {
		plans[n].visit(t, start(t, s, protoTCP), n)
	}
	services.Wait()
	if t.Failed() {
		t.Logf("repeat with runSequence(t, %d, %d)", seed, exchanges)
	}
}
