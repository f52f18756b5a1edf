package errs_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	errorsv1 "github.com/dialback/dialback/api/gen/dialback/errors/v1"
	"github.com/dialback/dialback/internal/errs"
)

var errTaken = errs.New(errs.AlreadyExists, errs.ReasonNameTaken, "the name is taken")

func TestIsComparesKindAndReason(t *testing.T) {
	t.Parallel()
	cause := errors.New("etcd said no")
	err := fmt.Errorf("bind: %w", errTaken.WithMessage("%q is taken", "a.example.com").WithCause(cause))
	if !errors.Is(err, errTaken) {
		t.Error("a copy with another message is not the sentinel")
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if errors.Is(err, errs.New(errs.AlreadyExists, errs.ReasonNameInUse, "")) {
		t.Error("another reason compares equal")
	}
	e, ok := errs.From(err)
	if !ok || e.Message() != `"a.example.com" is taken` {
		t.Errorf("From: %v, %v", e, ok)
	}
	if want := `bind: "a.example.com" is taken: etcd said no`; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err.Error(), want)
	}
}

func TestCopiesLeaveTheSentinelAlone(t *testing.T) {
	t.Parallel()
	_ = errTaken.WithMetadata("name", "x").WithField("f", "d").WithRetry(time.Second)
	if errTaken.Metadata() != nil || errTaken.Fields() != nil || errTaken.RetryAfter() != 0 {
		t.Error("the sentinel has changed")
	}
}

// The contract's list and this package's must be one list.
func TestReasonsAreTheContracts(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, _ := strconv.Unquote(lit.Value)
			ours[s] = true
		}
		return true
	})
	for number, name := range errorsv1.Reason_name {
		name = strings.TrimPrefix(name, "REASON_")
		if number != 0 && !ours[name] {
			t.Errorf("%s is in the contract and not in reason.go", name)
		}
		delete(ours, name)
	}
	for name := range ours {
		t.Errorf("%s is in reason.go and not in the contract", name)
	}
}
