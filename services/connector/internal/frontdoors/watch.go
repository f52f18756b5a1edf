package frontdoors

import (
	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/services/connector/internal/session"
)

// WatchSessions tells a frontdoor of every end from now on.
func (s *Server) WatchSessions(_ *connectorv1.WatchSessionsRequest, stream connectorv1.DialbackService_WatchSessionsServer) error {
	watcher := s.table.Feed().Watch()
	defer watcher.Close()
	if err := stream.Send(&connectorv1.WatchSessionsResponse{}); err != nil {
		return err
	}
	for {
		select {
		case <-watcher.Wake():
			if err := sendEnds(watcher, stream); err != nil {
				return err
			}
		case <-s.stopping:
			if err := sendEnds(watcher, stream); err != nil {
				return err
			}
			return errStopping
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func sendEnds(watcher *session.Watcher, stream connectorv1.DialbackService_WatchSessionsServer) error {
	ends, complete := watcher.Take()
	for _, e := range ends {
		if err := stream.Send(&connectorv1.WatchSessionsResponse{
			AgentId: e.Agent, Instance: e.Instance[:], SessionId: e.Session,
			Reason: agentv1.CloseReason(e.Reason), TunnelId: e.Tunnel,
		}); err != nil {
			return err
		}
	}
	if !complete {
		return errBehind
	}
	return nil
}
