package errs

// Reason is a stable code of an error. api/proto/dialback/errors/v1 says what
// each one means; a test holds the two lists together.
type Reason string

// The reasons.
const (
	ReasonInternal         Reason = "INTERNAL"
	ReasonInvalidArgument  Reason = "INVALID_ARGUMENT"
	ReasonPermissionDenied Reason = "PERMISSION_DENIED"
	ReasonUnavailable      Reason = "UNAVAILABLE"
	ReasonOverloaded       Reason = "OVERLOADED"
	ReasonRateLimited      Reason = "RATE_LIMITED"
	ReasonNotFound         Reason = "NOT_FOUND"
	ReasonAlreadyExists    Reason = "ALREADY_EXISTS"
	ReasonEtagMismatch     Reason = "ETAG_MISMATCH"
	ReasonQuotaExceeded    Reason = "QUOTA_EXCEEDED"

	ReasonTokenMissing       Reason = "TOKEN_MISSING"
	ReasonTokenInvalid       Reason = "TOKEN_INVALID"
	ReasonTokenRevoked       Reason = "TOKEN_REVOKED"
	ReasonTokenExpired       Reason = "TOKEN_EXPIRED"
	ReasonVersionUnsupported Reason = "VERSION_UNSUPPORTED"
	ReasonTakenOver          Reason = "TAKEN_OVER"
	ReasonAccountDisabled    Reason = "ACCOUNT_DISABLED"

	ReasonNameTaken         Reason = "NAME_TAKEN"
	ReasonNameInUse         Reason = "NAME_IN_USE"
	ReasonNameForbidden     Reason = "NAME_FORBIDDEN"
	ReasonNameInvalid       Reason = "NAME_INVALID"
	ReasonNotGranted        Reason = "NOT_GRANTED"
	ReasonOptionUnsupported Reason = "OPTION_UNSUPPORTED"
	ReasonTunnelLimit       Reason = "TUNNEL_LIMIT"
	ReasonSuperseded        Reason = "SUPERSEDED"
	ReasonNodeUnknown       Reason = "NODE_UNKNOWN"
	ReasonCompacted         Reason = "COMPACTED"
	ReasonDrainInProgress   Reason = "DRAIN_IN_PROGRESS"

	ReasonEndpointNotFound Reason = "ENDPOINT_NOT_FOUND"
	ReasonAgentOffline     Reason = "AGENT_OFFLINE"
	ReasonDialbackTimeout  Reason = "DIALBACK_TIMEOUT"
	ReasonUpstreamRefused  Reason = "UPSTREAM_REFUSED"
	ReasonUpstreamTimeout  Reason = "UPSTREAM_TIMEOUT"
	ReasonUpstreamBadReply Reason = "UPSTREAM_BAD_REPLY"
	ReasonPolicyDenied     Reason = "POLICY_DENIED"
	ReasonAuthRequired     Reason = "AUTH_REQUIRED"
)
