// Package errs is the one error type of Dialback: what a caller may see (kind,
// reason, message, metadata) apart from what it may not (the cause).
//
// A domain declares sentinels with New and returns copies of them that carry a
// cause or metadata; errors.Is compares kind and reason, so it holds for the
// copies, and across the wire.
package errs

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// Kind is the class of an error: what a caller can do about it.
type Kind uint8

// The kinds. Each is one gRPC code.
const (
	Internal Kind = iota
	InvalidArgument
	NotFound
	AlreadyExists
	PermissionDenied
	Unauthenticated
	FailedPrecondition
	Unavailable
	ResourceExhausted
	DeadlineExceeded
	// Aborted: somebody else has changed it meanwhile; read it again.
	Aborted
)

// Field is one malformed field of a request.
type Field struct {
	Name        string
	Description string
}

// Error is an error that may be shown. Its cause is private: it is logged where
// the error ends and never leaves the process.
type Error struct {
	kind     Kind
	reason   Reason
	message  string
	metadata map[string]string
	fields   []Field
	retry    time.Duration
	cause    error
}

// New returns a sentinel. The message is public: it says what is wrong and what
// to do.
func New(kind Kind, reason Reason, message string) *Error {
	return &Error{kind: kind, reason: reason, message: message}
}

// From returns the Error in err's chain, if there is one.
func From(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Error returns the whole chain, for logs.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.message
	}
	return e.message + ": " + e.cause.Error()
}

// Kind returns the class of the error.
func (e *Error) Kind() Kind { return e.kind }

// Reason returns the stable code of the error.
func (e *Error) Reason() Reason { return e.reason }

// Message returns the public text.
func (e *Error) Message() string { return e.message }

// Metadata returns the public details; it is not to be changed.
func (e *Error) Metadata() map[string]string { return e.metadata }

// Fields returns the malformed fields of the request.
func (e *Error) Fields() []Field { return e.fields }

// RetryAfter returns when an automatic retry makes sense; 0: not known.
func (e *Error) RetryAfter() time.Duration { return e.retry }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an Error of the same kind and reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.kind == e.kind && t.reason == e.reason
}

// WithMessage returns a copy with another public text.
func (e *Error) WithMessage(format string, args ...any) *Error {
	c := *e
	c.message = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy with a private cause.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// WithMetadata returns a copy with one more public detail.
func (e *Error) WithMetadata(key, value string) *Error {
	c := *e
	c.metadata = maps.Clone(e.metadata)
	if c.metadata == nil {
		c.metadata = map[string]string{}
	}
	c.metadata[key] = value
	return &c
}

// WithField returns a copy that names one more malformed field.
func (e *Error) WithField(name, description string) *Error {
	c := *e
	c.fields = append(append([]Field(nil), e.fields...), Field{Name: name, Description: description})
	return &c
}

// WithRetry returns a copy that asks the caller to retry after d.
func (e *Error) WithRetry(d time.Duration) *Error {
	c := *e
	c.retry = d
	return &c
}
