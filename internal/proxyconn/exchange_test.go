package proxyconn

import (
	"bytes"
	"io"
	"net"
	"testing"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

const (
	protoTCP  = proxyv1.Protocol_PROTOCOL_TCP
	protoHTTP = proxyv1.Protocol_PROTOCOL_HTTP
)

func TestExchangesFollowEachOtherOnOneConnection(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	s, _ := pair(t, pipeTo(t, services))
	for i := range 5 {
		e := start(t, s, protoTCP)
		body := bytes.Repeat([]byte{byte(i)}, 100_000)
		go func() {
			_, _ = e.Write(body)
			_ = e.CloseWrite()
		}()
		service := await(t, services, "private connection")
		got, err := io.ReadAll(service)
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("exchange %d: service read %d bytes, %v", i, len(got), err)
		}
		// The reply comes after the end of the request: half-close.
		go func() {
			_, _ = service.Write(body)
			_ = service.Close()
		}()
		if got, err = io.ReadAll(e); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("exchange %d: visitor read %d bytes, %v", i, len(got), err)
		}
		if o := ended(t, e); o.Kind != Clean || !o.Reusable {
			t.Fatalf("exchange %d: %+v", i, o)
		}
	}
}
