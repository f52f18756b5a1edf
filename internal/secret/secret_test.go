package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/secret"
)

const hidden = "correct-horse-battery"

type holder struct {
	Public  secret.Text
	private secret.Text
}

func TestNothingPrintsIt(t *testing.T) {
	t.Parallel()
	text := secret.New(hidden)
	h := holder{Public: text, private: text}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", text)
		fmt.Fprintf(&out, verb+"\n", &text)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "secret", text, "holder", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "secret", text, "holder", h)
	if err := json.NewEncoder(&out).Encode(h); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&out, errors.New(fmt.Sprint("wrapped ", text)))

	for _, form := range []string{hidden, fmt.Sprintf("%x", hidden)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the output shows the secret:\n%s", out.String())
		}
	}
}

func TestRevealAndMatch(t *testing.T) {
	t.Parallel()
	text := secret.New(hidden)
	if text.Reveal() != hidden || text.Empty() {
		t.Errorf("Reveal() = %q", text.Reveal())
	}
	if !text.Matches(secret.New(hidden).Hash()) {
		t.Error("a secret does not match its own hash")
	}
	if text.Matches(secret.New(hidden + " ").Hash()) {
		t.Error("a secret matches another's hash")
	}
	if zero := (secret.Text{}); zero.Reveal() != "" || !zero.Empty() {
		t.Error("the zero Text is not empty")
	}
}
