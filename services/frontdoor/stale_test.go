package frontdoor_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/frontdoor"
)

func (a *fakeAgent) takeByHand() func(net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.byHand
	a.byHand = nil
	return f
}

// serveByHand dials back and leaves the rest to f.
func (a *fakeAgent) serveByHand(ticket []byte, serverName string, f func(net.Conn)) {
	config := tlsconf.PinnedClient(serverName, a.pins)
	config.NextProtos = []string{"dialback-proxy/1"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(a.ctx, "tcp", a.server)
	if err != nil {
		return
	}
	defer conn.Close()
	reg, _ := proto.Marshal(&proxyv1.RegProxy{Ticket: ticket})
	if _, err := conn.Write(append(binary.AppendUvarint(nil, uint64(len(reg))), reg...)); err == nil {
		f(conn)
	}
}

// nextFrame reads a frame and returns its type.
func nextFrame(c net.Conn) (proxyv1.FrameType, error) {
	var header [4]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return 0, err
	}
	word := binary.BigEndian.Uint32(header[:])
	_, err := io.CopyN(io.Discard, c, int64(word&0xffffff))
	return proxyv1.FrameType(word >> 24), err
}

// A connection that was idle for long has died unnoticed. A request that could
// not be repeated must not find that out; one that could does not pay a round trip
// for it. Either is answered by way of another connection.
func TestADeadWarmConnectionCostsNoRequest(t *testing.T) {
	t.Parallel()
	for method, early := range map[string][]proxyv1.FrameType{
		http.MethodGet: {
			proxyv1.FrameType_FRAME_TYPE_START, proxyv1.FrameType_FRAME_TYPE_REQ, proxyv1.FrameType_FRAME_TYPE_DATA,
		},
		http.MethodPost: {proxyv1.FrameType_FRAME_TYPE_START},
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := newMeasured(t, func(c *frontdoor.Config) { c.PoolFloor = 1 })
			var served atomic.Int32
			a := w.agent(upstream(t, func(http.ResponseWriter, *http.Request) { served.Add(1) }))
			frames := make(chan []proxyv1.FrameType, 1)
			a.byHand = func(c net.Conn) {
				var got []proxyv1.FrameType
				for kind, err := nextFrame(c); err == nil; kind, err = nextFrame(c) {
					got = append(got, kind)
				}
				frames <- got
			}
			c := w.connector("c1")
			w.attach(c, a, app)
			w.world.registry.put(claimChange(a, app, nil), attachChange(app, "c1", "session-"+a.id))
			idle := func() bool { return w.metric("proxy_connections", "idle") == 1 }
			testkit.Eventually(t, limit, idle, "the floor is filled")
			idleSince := time.Now()
			testkit.Eventually(t, limit, func() bool { return time.Since(idleSince) > time.Second }, "it is not fresh any more")
			q, _ := http.NewRequest(method, "http://"+app+"/", nil)
			if method == http.MethodPost {
				q, _ = http.NewRequest(method, "http://"+app+"/", strings.NewReader("x"))
			}
			res, err := w.client().Do(q)
			fatal(t, err)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK || served.Load() != 1 {
				t.Errorf("%s, served %d times", res.Status, served.Load())
			}
			found := func() bool { return w.metric("pool_ended_total", "no_ack") == 1 } // the answer may be quicker
			testkit.Eventually(t, limit, found, "it is counted among the dead")
			if got := <-frames; !slices.Equal(got, early) {
				t.Errorf("the dead connection got %v", got)
			}
		})
	}
}
