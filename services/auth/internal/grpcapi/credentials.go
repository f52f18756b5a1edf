package grpcapi

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// CredentialService serves connectors, frontdoors and registries.
type CredentialService struct {
	authv1.UnimplementedCredentialServiceServer
	credentials *identity.Credentials
	revocations *identity.Revocations
	keys        identity.Keys
}

// NewCredentialService returns the service.
func NewCredentialService(c *identity.Credentials, r *identity.Revocations, keys identity.Keys) *CredentialService {
	return &CredentialService{credentials: c, revocations: r, keys: keys}
}

// Validate judges what an agent presented to the calling connector.
func (s *CredentialService) Validate(ctx context.Context, req *authv1.ValidateRequest) (*authv1.ValidateResponse, error) {
	verdict, err := s.credentials.Validate(ctx, identity.Presented{
		Authtoken:     secret.String(req.GetAuthtoken()),
		AgentID:       req.GetAgentId(),
		ResumeToken:   secret.String(req.GetResumeToken()),
		Instance:      req.GetInstance(),
		ClientAddress: req.GetClientAddress(),
		Connector:     callerName(ctx),
	})
	if err != nil {
		return nil, err
	}
	signed, err := s.sign(verdict.Assertion)
	if err != nil {
		return nil, err
	}
	return &authv1.ValidateResponse{
		Assertion:   signed,
		AccountId:   verdict.Assertion.AccountID,
		TokenId:     verdict.Assertion.TokenID,
		AgentId:     verdict.Assertion.AgentID,
		ResumeToken: verdict.ResumeToken.Reveal(),
		Grants:      verdict.Assertion.Grants,
		ValidFor:    durationpb.New(verdict.ValidFor),
		MaxTunnels:  verdict.MaxTunnels,

		MaxAgents:      verdict.Assertion.Quotas.MaxAgents,
		MaxEndpoints:   verdict.Assertion.Quotas.MaxEndpoints,
		MaxConnections: verdict.Assertion.Quotas.MaxConnections,
	}, nil
}

func (s *CredentialService) sign(a identity.Assertion) (*authv1.SignedAssertion, error) {
	text, err := proto.Marshal(&authv1.Assertion{
		AccountId: a.AccountID, TokenId: a.TokenID, AgentId: a.AgentID, Instance: a.Instance,
		Connector: a.Connector, Grants: a.Grants, ExpireTime: timestamppb.New(a.Expires),
		MaxAgents: a.Quotas.MaxAgents, MaxEndpoints: a.Quotas.MaxEndpoints, MaxConnections: a.Quotas.MaxConnections,
	})
	if err != nil {
		return nil, fmt.Errorf("serialize assertion: %w", err)
	}
	return &authv1.SignedAssertion{Assertion: text, Signature: s.keys.Sign(text), KeyId: s.keys.ID()}, nil
}

// WatchRevocations sends steps until the caller leaves or the watch ends.
func (s *CredentialService) WatchRevocations(req *authv1.WatchRevocationsRequest, stream grpc.ServerStreamingServer[authv1.WatchRevocationsResponse]) error {
	ctx := stream.Context()
	watch, err := s.revocations.Watch(ctx, req.GetRevision())
	if err != nil {
		return err
	}
	for {
		step, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		err = stream.Send(&authv1.WatchRevocationsResponse{
			TokenIds: step.TokenIDs, ChangedTokenIds: step.ChangedTokens,
			EndedAccountIds: step.EndedAccounts, ChangedAccountIds: step.ChangedAccounts, Revision: step.Revision,
		})
		if err != nil {
			return err
		}
	}
}

// EndAgent counts an agent out of the calling connector's.
func (s *CredentialService) EndAgent(ctx context.Context, req *authv1.EndAgentRequest) (*authv1.EndAgentResponse, error) {
	if err := s.credentials.EndAgent(ctx, req.GetAccountId(), req.GetAgentId(), callerName(ctx)); err != nil {
		return nil, err
	}
	return &authv1.EndAgentResponse{}, nil
}

// Authenticate judges what a user presented to the calling service.
func (s *CredentialService) Authenticate(ctx context.Context, req *authv1.AuthenticateRequest) (*authv1.AuthenticateResponse, error) {
	p, err := s.credentials.Authenticate(ctx, secret.String(req.GetApiKey()), req.GetClientAddress())
	if err != nil {
		return nil, err
	}
	return &authv1.AuthenticateResponse{AccountId: p.Account, Role: roleMessage(p.Role), Actor: p.Actor, TokenId: p.TokenID}, nil
}

// GetKeys answers the keys that the caller's role needs.
func (s *CredentialService) GetKeys(ctx context.Context, _ *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	resp := &authv1.GetKeysResponse{AssertionKeys: map[string][]byte{s.keys.ID(): s.keys.Public()}}
	if caller, ok := rpc.Caller(ctx); ok && receivesTraceKey(caller.Role) {
		resp.TraceMacKey = s.keys.TraceMAC[:]
	}
	return resp, nil
}
