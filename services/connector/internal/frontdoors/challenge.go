package frontdoors

import (
	"context"
	"time"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/services/connector/internal/session"
)

// answerWithin is how long an agent may take to prove that it is there.
const answerWithin = time.Second

// Challenge pings an agent's process over all of its sessions here. One answer
// is enough: another session may be half-open.
func (s *Server) Challenge(ctx context.Context, req *connectorv1.ChallengeRequest) (*connectorv1.ChallengeResponse, error) {
	var instance session.Instance
	if copy(instance[:], req.GetInstance()) != len(instance) || len(req.GetInstance()) != len(instance) {
		return nil, errMalformed.WithField("instance", "want 16 bytes")
	}
	sessions := s.table.Of(req.GetAgentId(), instance)
	if len(sessions) == 0 {
		return &connectorv1.ChallengeResponse{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answers := make(chan bool, len(sessions))
	for _, sess := range sessions {
		go func() { answers <- answered(ctx, sess) }()
	}
	resp := &connectorv1.ChallengeResponse{}
	for range sessions {
		resp.Answered = resp.Answered || <-answers
		if resp.Answered {
			break
		}
	}
	return resp, nil
}

func answered(ctx context.Context, s *session.Session) bool {
	select {
	case <-s.Challenge(time.Now()):
		return true
	case <-s.Done():
	case <-ctx.Done():
	}
	return false
}
