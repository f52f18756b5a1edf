// Package secret keeps authtokens, passwords and keys out of logs, error texts
// and dumps of a configuration.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const hidden = "***"

// String is a text that prints as "***" in every form: fmt, slog, JSON, YAML. Keep
// it in exported fields: fmt prints unexported ones without asking their methods.
type String string

// Reveal returns the text itself. Its callers are the places that use the secret.
func (s String) Reveal() string { return string(s) }

func (String) String() string { return hidden }

// Format covers the verbs that would pass String by, such as %d and %#v.
func (String) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, hidden) // fmt's buffer takes everything
}

// LogValue is what slog's handlers print.
func (String) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText is what encoding/json and YAML write.
func (String) MarshalText() ([]byte, error) { return []byte(hidden), nil }
