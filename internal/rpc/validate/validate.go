// Package validate checks requests against the rules that stand beside their
// fields in api/proto. It is apart from package rpc so that who only calls, such
// as an agent, does not carry the machinery.
package validate

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/dialback/dialback/internal/errs"
)

// ErrInvalid is the answer to a request that breaks a rule; it names each field.
var ErrInvalid = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request is not valid")

// Validator checks messages. It is safe for concurrent use.
type Validator struct {
	// rules are compiled when the first message of a type comes, not at start.
	rules func() (protovalidate.Validator, error)
}

// New returns a Validator.
func New() *Validator {
	return &Validator{rules: sync.OnceValues(func() (protovalidate.Validator, error) { return protovalidate.New() })}
}

// Validate returns nil for a message that keeps its rules, ErrInvalid with a
// field for each broken one, and another error if a rule itself is at fault.
func (v *Validator) Validate(m proto.Message) error {
	rules, err := v.rules()
	if err != nil {
		return fmt.Errorf("rules of the protos: %w", err)
	}
	err = rules.Validate(m)
	var broken *protovalidate.ValidationError
	if !errors.As(err, &broken) {
		return err
	}
	invalid := ErrInvalid
	texts := make([]string, 0, len(broken.Violations))
	for _, violation := range broken.Violations {
		field, text := protovalidate.FieldPathString(violation.Proto.GetField()), violation.Proto.GetMessage()
		invalid = invalid.WithField(field, text)
		texts = append(texts, strings.TrimPrefix(field+": "+text, ": ")) // a rule of the whole message has no field
	}
	return invalid.WithMessage("%s", strings.Join(texts, "; "))
}
