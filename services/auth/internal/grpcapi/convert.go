package grpcapi

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// roles are those of the contract, in the order of package principal.
var roles = []authv1.Role{
	principal.None:     authv1.Role_ROLE_UNSPECIFIED,
	principal.Agent:    authv1.Role_ROLE_AGENT,
	principal.ReadOnly: authv1.Role_ROLE_READ_ONLY,
	principal.Operator: authv1.Role_ROLE_OPERATOR,
	principal.Admin:    authv1.Role_ROLE_ADMIN,
}

func roleMessage(r principal.Role) authv1.Role { return roles[r] }

var errUnknownValue = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request has a value that this release does not know")

// roleOf refuses a role of a newer release: it might mean less than any of ours.
func roleOf(m authv1.Role) (principal.Role, error) {
	for r, known := range roles {
		if known == m {
			return principal.Role(r), nil
		}
	}
	return principal.None, errUnknownValue.WithField("role", "it is not one of the roles")
}

func kindMessage(k identity.Kind) authv1.TokenKind {
	switch k {
	case identity.APIKey:
		return authv1.TokenKind_TOKEN_KIND_API
	case identity.UserKey:
		return authv1.TokenKind_TOKEN_KIND_USER
	default:
		return authv1.TokenKind_TOKEN_KIND_AGENT
	}
}

// kindOf returns the kind of a token to be made.
func kindOf(m authv1.TokenKind) (identity.Kind, error) {
	switch m {
	case authv1.TokenKind_TOKEN_KIND_UNSPECIFIED, authv1.TokenKind_TOKEN_KIND_AGENT:
		return identity.AgentToken, nil
	case authv1.TokenKind_TOKEN_KIND_API:
		return identity.APIKey, nil
	default:
		return "", errUnknownValue.WithField("kind", "ask for AGENT or API; a login makes the others")
	}
}

// callerName is the service that calls.
func callerName(ctx context.Context) string {
	id, _ := rpc.Caller(ctx)
	return id.Name
}

// callerOf is the user that calls.
func callerOf(ctx context.Context) identity.Caller {
	return identity.Caller{Principal: principal.From(ctx), Address: rpc.ClientAddress(ctx)}
}

// timestamp leaves a zero time out.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// etag is a revision as callers hand it back: opaque to them.
func etag(revision int64) string { return strconv.FormatInt(revision, 36) }

// revisionOf reads an etag; 0: none was given. What is none of ours is one that
// does not match.
func revisionOf(etag string) (int64, error) {
	if etag == "" {
		return 0, nil
	}
	revision, err := strconv.ParseInt(etag, 36, 64)
	if err != nil || revision <= 0 {
		return 0, identity.ErrEtag
	}
	return revision, nil
}

// eachPath has take take each path of a mask; false: there is no such field, or it
// is not to be changed. The id, which says what is changed, and the etag may be
// named: a gateway names all that a request has.
func eachPath(mask *fieldmaskpb.FieldMask, resource string, take func(path string) bool) error {
	if len(mask.GetPaths()) == 0 {
		return errUnknownValue.WithMessage("update_mask: name the fields to change").WithField("update_mask", "name the fields to change")
	}
	for _, path := range mask.GetPaths() {
		if path == "id" || path == "etag" || take(path) {
			continue
		}
		const problem = "it is no field that can be changed"
		return errUnknownValue.WithMessage("%s.%s: %s", resource, path, problem).WithField("update_mask", path+": "+problem)
	}
	return nil
}
