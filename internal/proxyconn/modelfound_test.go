package proxyconn

import (
	"context"
	"io"
	"testing"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// What the orderings of model_test.go have found.

// A service may end its direction and then be sent bytes, so the FIN of a byte
// stream does not prove that nothing will have been delivered.
func TestAFinOfAByteStreamProvesNothing(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, long)
	e := start(t, s, protoTCP)
	if _, err := e.Write([]byte("on the way")); err != nil {
		t.Fatal(err)
	}
	agent.send(accepted(1), fin(1, 0))
	if n, err := e.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatal(n, err)
	}
	if _, known := e.Delivered(); known || !e.RequestDelivered() {
		t.Fatal("the agent has not said its last word about what it delivers")
	}
}

// Behind the agent's own RESET a START is out of turn, although both directions
// have ended: the agent must not wait for a RESET that it would have to read.
func TestAStartBeforeTheAnswerToARESETEndsTheConnection(t *testing.T) {
	t.Parallel()
	abort := make(chan struct{})
	_, _, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) {
		_ = e.Accept(0)
		<-abort
		e.Reset(proxyv1.Code_CODE_TUNNEL_CLOSED)
	})
	frontdoor.send(begin(1, protoTCP))
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	frontdoor.send(fin(1, 0), frame(fPing, "12345678"))
	frontdoor.expect(fPong, nil) // so the FIN was read
	close(abort)
	frontdoor.expect(fReset, nil)
	frontdoor.send(begin(2, protoTCP))
	frontdoor.expectEnd()
}

// Both directions can have ended before the handler, who has accepted, gets to
// Pipe: the visitor has said all, and wants no answer. The service still gets it.
func TestWhatCameEarlyIsDeliveredThoughBothDirectionsHaveEnded(t *testing.T) {
	t.Parallel()
	ended, piped := make(chan struct{}), make(chan error, 1)
	private, service := tcpPair(t)
	_, _, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) {
		_ = e.Accept(0)
		<-ended
		piped <- e.Pipe(private, nil)
	})
	frontdoor.send(begin(1, protoTCP), data("all of it"), fin(1, 0), stop(1))
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	frontdoor.expect(fFin, nil)
	frontdoor.send(frame(fPing, "12345678"))
	frontdoor.expect(fPong, nil) // so the write of the FIN has returned
	close(ended)
	if got, err := io.ReadAll(service); string(got) != "all of it" || err != nil {
		t.Fatalf("the service got %q, %v", got, err)
	}
	if err := await(t, piped, "end of Pipe"); err != nil {
		t.Fatal(err)
	}
}

// A handler that accepts and then has no private connection ends the exchange,
// also one of which both directions have ended.
func TestAHandlerThatNeverPipesEndsTheExchange(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	_, _, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) {
		_ = e.Accept(0)
		<-ended
	})
	frontdoor.send(begin(1, protoTCP), fin(1, 0), stop(1))
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	frontdoor.expect(fFin, nil)
	close(ended)
	frontdoor.send(begin(2, protoTCP))
	frontdoor.expect(fAck, nil)
}
