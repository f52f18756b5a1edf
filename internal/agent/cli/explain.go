package cli

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
)

// maxText is how much of a text from elsewhere is shown, in bytes.
const maxText = 1024

// advised is an error of the agent with what to do about it.
type advised struct {
	err    error
	server string
}

func (e advised) orNil() error {
	if e.err == nil {
		return nil
	}
	return e
}

func (e advised) Error() string { return e.err.Error() }

func (e advised) Unwrap() error { return e.err }

func (e advised) advice() string {
	switch agent.Classify(e.err) {
	case agent.FailureToken:
		return fmt.Sprintf("\nAsk the server's operator for a new token and save it with:\n  "+howToAdd, e.server)
	case agent.FailureUntrusted:
		return fmt.Sprintf("\nNothing was sent to it. A server with an authority of its own needs its pin; if that is missing, or its operator says that it has changed, save it with:\n  "+howToAdd, e.server)
	case agent.FailureVersion:
		return "\nInstall a newer release of dialback."
	default:
		return ""
	}
}

// explain is an error as the user is to read it: what a server said without the
// transport's words around it, and what to do.
func explain(err error) string {
	text := cause(err)
	var a advised
	if errors.As(err, &a) {
		text += a.advice()
	}
	return text
}

// cause is the error alone.
func cause(err error) string {
	if errors.Is(err, rpc.ErrUnavailable) {
		var unavailable *errs.Error
		if errors.As(err, &unavailable) && unavailable.Unwrap() != nil {
			return "the connection was lost"
		}
	}
	var connect *session.ConnectError
	if e, ok := errs.From(err); ok && !errors.As(err, &connect) {
		return e.Message()
	}
	return err.Error()
}

// printable makes a peer's text harmless for a terminal. Lines stay lines.
func printable(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
