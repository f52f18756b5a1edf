package errs_test

import (
	"os"
	"strings"
	"testing"

	errorsv1 "github.com/dialback/dialback/api/gen/dialback/errors/v1"
)

// docs/ERRORS.md explains every code.
func TestReasonsAreDocumented(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/ERRORS.md")
	if err != nil {
		t.Fatal(err)
	}
	for number, name := range errorsv1.Reason_name {
		name = strings.TrimPrefix(name, "REASON_")
		if number != 0 && !strings.Contains(string(document), "\n| `"+name+"` |") {
			t.Errorf("%s has no line in docs/ERRORS.md", name)
		}
	}
}
