package control

import (
	"errors"
	"io"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/errs"
)

// sessionKey is the metadata that names the session of a stream of spans.
const sessionKey = "dialback-session"

var errNoSession = errs.New(errs.FailedPrecondition, errs.ReasonNotFound,
	"no such session on this connection")

// ExportSpans takes an agent's spans. It reads as fast as they come and drops
// what is too much: whoever exports them never holds up a connection that also
// carries pings. The stream ends with its session.
func (s *Server) ExportSpans(stream agentv1.ControlService_ExportSpansServer) error {
	ids := metadata.ValueFromIncomingContext(stream.Context(), sessionKey)
	p, _ := peer.FromContext(stream.Context())
	if len(ids) != 1 {
		return errNoSession
	}
	sess := s.table.Get(ids[0])
	if sess == nil || sess.Address != p.Addr.String() {
		return errNoSession
	}
	batches := make(chan error, 1)
	go func() {
		for {
			msg, err := stream.Recv()
			if err != nil {
				batches <- err
				return
			}
			s.spans.Offer(sess, msg.GetOtlp())
		}
	}()
	select {
	case err := <-batches:
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&agentv1.ExportSpansResponse{})
		}
		return streamFault(err)
	case <-sess.Done():
		return errNoSession
	}
}
