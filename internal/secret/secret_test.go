package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/dialback/dialback/internal/secret"
)

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	type holder struct {
		Name   string
		Secret secret.String
		List   []secret.String
	}
	h := holder{Name: "n", Secret: "hunter2", List: []secret.String{"hunter2"}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb+"\n", h.Secret)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "secret", h.Secret, "holder", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "secret", h.Secret, "holder", h)
	asJSON, err1 := json.Marshal(h)
	asYAML, err2 := yaml.Marshal(h)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	out.Write(asJSON)
	out.Write(asYAML)
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q leaks in:\n%s", leak, out.String())
		}
	}
	if !strings.Contains(string(asJSON), `"Secret":"***"`) {
		t.Errorf("JSON: %s", asJSON)
	}
	if h.Secret.Reveal() != "hunter2" {
		t.Error("Reveal lost the secret")
	}
}
