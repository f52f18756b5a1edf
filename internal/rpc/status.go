// Package rpc is gRPC as Dialback uses it: mutual TLS with service identities,
// who may call what as data, one error type across the wire, traces.
package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/dialback/dialback/internal/errs"
)

// errorDomain is google.rpc.ErrorInfo.domain of our reasons.
const errorDomain = "dialback.dev"

// The errors that this package itself answers.
var (
	ErrInternal    = errs.New(errs.Internal, errs.ReasonInternal, "internal error")
	ErrUnavailable = errs.New(errs.Unavailable, errs.ReasonUnavailable, "the service cannot be reached; retry")
	ErrDenied      = errs.New(errs.PermissionDenied, errs.ReasonPermissionDenied, "this identity may not call this method")
)

var codeOf = map[errs.Kind]codes.Code{
	errs.Internal:           codes.Internal,
	errs.InvalidArgument:    codes.InvalidArgument,
	errs.NotFound:           codes.NotFound,
	errs.AlreadyExists:      codes.AlreadyExists,
	errs.PermissionDenied:   codes.PermissionDenied,
	errs.Unauthenticated:    codes.Unauthenticated,
	errs.FailedPrecondition: codes.FailedPrecondition,
	errs.Unavailable:        codes.Unavailable,
	errs.ResourceExhausted:  codes.ResourceExhausted,
	errs.DeadlineExceeded:   codes.DeadlineExceeded,
	errs.Aborted:            codes.Aborted,
}

var kindOf = func() map[codes.Code]errs.Kind {
	m := make(map[codes.Code]errs.Kind, len(codeOf))
	for kind, code := range codeOf {
		m[code] = kind
	}
	return m
}()

// ToStatus turns an error into what may leave the process: an errs.Error's
// public side; the end of a context; a gRPC status only with its code; all else
// is "internal error".
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errs.From(err)
	if !ok {
		switch {
		case errors.Is(err, context.Canceled):
			return status.Error(codes.Canceled, "canceled")
		case errors.Is(err, context.DeadlineExceeded):
			return status.Error(codes.DeadlineExceeded, "deadline exceeded")
		}
		e = ErrInternal
	}
	s := status.New(codeOf[e.Kind()], e.Message())
	if with, err := s.WithDetails(details(e)...); err == nil {
		s = with
	}
	return s.Err()
}

func details(e *errs.Error) []protoadapt.MessageV1 {
	list := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason: string(e.Reason()), Domain: errorDomain, Metadata: e.Metadata(),
	}}
	if d := e.RetryAfter(); d > 0 {
		list = append(list, &errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
	}
	if len(e.Fields()) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range e.Fields() {
			bad.FieldViolations = append(bad.FieldViolations,
				&errdetails.BadRequest_FieldViolation{Field: f.Name, Description: f.Description})
		}
		list = append(list, bad)
	}
	return list
}

// FromStatus turns a call's error into an errs.Error, so that errors.Is holds
// for the sentinels of the other side's domain. A status that is not ours keeps
// its kind, with the status as private cause. The end of the caller's own
// context comes back as that.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.OK:
		return nil
	case codes.Canceled:
		return errors.Join(context.Canceled, err)
	}
	var info *errdetails.ErrorInfo
	var retry time.Duration
	var fields []errs.Field
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				fields = append(fields, errs.Field{Name: v.GetField(), Description: v.GetDescription()})
			}
		}
	}
	if info == nil || info.GetDomain() != errorDomain {
		return foreign(s, err)
	}
	e := errs.New(kindOf[s.Code()], errs.Reason(info.GetReason()), s.Message()).WithRetry(retry)
	for k, v := range info.GetMetadata() {
		e = e.WithMetadata(k, v)
	}
	for _, f := range fields {
		e = e.WithField(f.Name, f.Description)
	}
	return e
}

// foreign maps what gRPC itself says (a lost connection, a method that is not
// there) to our kinds.
func foreign(s *status.Status, err error) error {
	switch s.Code() {
	case codes.Unavailable:
		return ErrUnavailable.WithCause(err)
	case codes.DeadlineExceeded:
		return errors.Join(context.DeadlineExceeded, err)
	case codes.ResourceExhausted:
		return errs.New(errs.ResourceExhausted, errs.ReasonOverloaded, "a limit of the service was reached").WithCause(err)
	default:
		return ErrInternal.WithCause(err)
	}
}
