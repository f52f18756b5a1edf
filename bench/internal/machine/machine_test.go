package machine

import (
	"os"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	text := Describe(t.Context(), "no-such-program")
	t.Log(text)
	if !strings.HasPrefix(text, "Dialback ?; ") || !strings.Contains(text, " cores (") || !strings.Contains(text, ", Go 1.") {
		t.Errorf("%q", text)
	}
	if name, err := os.Hostname(); err == nil && len(name) > 3 && strings.Contains(text, name) {
		t.Errorf("%q names the machine", text)
	}
}
