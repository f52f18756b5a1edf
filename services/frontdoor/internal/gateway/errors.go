package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
)

// statusError is an error with an HTTP status that no kind has.
type statusError struct {
	err    *errs.Error
	status int
}

func (e statusError) Error() string { return e.err.Error() }

func (e statusError) Unwrap() error { return e.err }

func refusal(status int, message string) statusError {
	return statusError{errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, message), status}
}

var (
	errInternal  = rpc.ErrInternal
	errTooLarge  = refusal(http.StatusRequestEntityTooLarge, "the request's body is larger than 1 MiB")
	errHead      = refusal(http.StatusRequestHeaderFieldsTooLarge, "the request's line and header are too large")
	errMediaType = refusal(http.StatusUnsupportedMediaType, "the request's body is to be JSON: Content-Type: application/json")
	errRate      = errs.New(errs.ResourceExhausted, errs.ReasonRateLimited, "too many requests from this address; retry later")
	errNoPath    = errs.New(errs.NotFound, errs.ReasonNotFound, "there is nothing at this path; GET /v1/openapi.json lists what there is")
)

func routingError(r *http.Request, code int) error {
	switch code {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return refusal(http.StatusMethodNotAllowed, r.Method+" is not for this path; GET /v1/openapi.json lists what is")
	case http.StatusBadRequest:
		return refusal(http.StatusBadRequest, "the path is malformed")
	}
	return errNoPath
}

// answers are the HTTP status and the name of each kind of error.
var answers = map[errs.Kind]struct {
	status int
	code   string
}{
	errs.Internal:           {http.StatusInternalServerError, "INTERNAL"},
	errs.InvalidArgument:    {http.StatusBadRequest, "INVALID_ARGUMENT"},
	errs.NotFound:           {http.StatusNotFound, "NOT_FOUND"},
	errs.AlreadyExists:      {http.StatusConflict, "ALREADY_EXISTS"},
	errs.PermissionDenied:   {http.StatusForbidden, "PERMISSION_DENIED"},
	errs.Unauthenticated:    {http.StatusUnauthorized, "UNAUTHENTICATED"},
	errs.FailedPrecondition: {http.StatusConflict, "FAILED_PRECONDITION"},
	errs.Unavailable:        {http.StatusServiceUnavailable, "UNAVAILABLE"},
	errs.ResourceExhausted:  {http.StatusTooManyRequests, "RESOURCE_EXHAUSTED"},
	errs.Aborted:            {http.StatusConflict, "ABORTED"},
	errs.DeadlineExceeded:   {http.StatusGatewayTimeout, "DEADLINE_EXCEEDED"},
}

// problem is the JSON of an error.
type problem struct {
	Code     string            `json:"code"`
	Reason   errs.Reason       `json:"reason"`
	Message  string            `json:"message"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Fields   []problemField    `json:"fields,omitempty"`
	TraceID  string            `json:"trace_id,omitempty"`
}

type problemField struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// writeError answers with an error in the one form that all of REST has.
func writeError(ctx context.Context, w http.ResponseWriter, err error) {
	e := public(err)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if wait := e.RetryAfter(); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	if e.Kind() == errs.Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="dialback"`)
	}
	code := answers[e.Kind()].status
	var own statusError
	if errors.As(err, &own) {
		code = own.status
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(describe(ctx, e)) // who asked may have gone
}

func describe(ctx context.Context, e *errs.Error) problem {
	p := problem{Code: answers[e.Kind()].code, Reason: e.Reason(), Message: e.Message(), Metadata: e.Metadata()}
	for _, f := range e.Fields() {
		p.Fields = append(p.Fields, problemField{f.Name, f.Description})
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		p.TraceID = sc.TraceID().String()
	}
	return p
}

// public returns what a client may know of an error: a service's own, what the
// mux says of a request that it cannot read, or "internal error".
func public(err error) *errs.Error {
	if e, ok := errs.From(err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.DeadlineExceeded, errs.ReasonUnavailable, "a service did not answer in time; retry").WithCause(err)
	}
	if s, ok := status.FromError(err); ok && s.Code() == codes.InvalidArgument {
		return malformed(s.Message())
	}
	if e, ok := errs.From(rpc.FromStatus(err)); ok {
		return e
	}
	return errInternal.WithCause(err)
}

// malformed names the field in what the mux and the codec say of a request.
func malformed(text string) *errs.Error {
	e := errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, text)
	if m := fieldText.FindStringSubmatch(text); m != nil {
		return e.WithField(m[1], "unknown field")
	}
	if m := valueText.FindStringSubmatch(text); m != nil {
		return e.WithField(m[1], "the value is not of the field's type")
	}
	return e
}
