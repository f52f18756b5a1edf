package grpcapi

import (
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// lookupMessage answers the claim as it is stored: a field that this version
// does not know is passed on.
func lookupMessage(e directory.Endpoint) *registryv1.LookupResponse {
	stored, _ := e.Record.(*storagev1.Claim)
	resp := &registryv1.LookupResponse{
		Claim:    stored.GetClaim(),
		Position: &registryv1.Position{Epoch: e.Epoch, Revision: e.Revision},
	}
	for _, a := range e.Attachments {
		resp.Attachments = append(resp.Attachments, attachmentMessage(a))
	}
	return resp
}

func attachmentMessage(a directory.Attachment) *registryv1.Attachment {
	return &registryv1.Attachment{Hostname: a.Hostname, Generation: a.Generation, ConnectorId: a.Connector, SessionId: a.Session}
}
