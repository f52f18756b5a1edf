package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent"
)

// newStatus shows the agent's events: to a person as calm lines, one an event;
// to a program as log lines.
func newStatus(p *program, log *slog.Logger) func(agent.Event) {
	if p.Terminal {
		return (&screen{out: p.Stdout, now: time.Now}).show
	}
	return (&journal{log}).write
}

// repeatAfter is how long the same trouble is not said again to a person.
const repeatAfter = time.Minute

// screen is a terminal.
type screen struct {
	out    io.Writer
	now    func() time.Time
	online bool

	trouble   string // the latest that was said, or empty
	troubleAt time.Time
}

func (s *screen) show(e agent.Event) {
	switch e := e.(type) {
	case agent.Connecting:
		s.line("Connecting to %s ...", e.Server)
	case agent.Connected:
		if e.Banner != "" && !e.Additional {
			s.line("%s", e.Banner)
		}
	case agent.Narrowed:
		s.line("Lost one connection to the server: %s. Another one serves.", cause(e.Cause))
	case agent.Retrying:
		s.retrying(e)
	case agent.TunnelOnline:
		s.tunnelOnline(e)
	case agent.TunnelWaiting:
		s.line("The name for %s is refused for now: %s. Trying again.", e.ForwardsTo, cause(e.Cause))
	case agent.TunnelEnded:
		s.line("The server ended %s. Asking for it again.", strings.Join(e.URLs, ", "))
	case agent.Upstream:
		s.line("%s", upstreamText(e))
	case agent.TakenOver:
		s.line("Another process uses this agent's identity, perhaps a copy of this machine. Going on under a new one.")
	case agent.Notice:
		s.line("%s", e.Text)
	case agent.Stopping:
		s.line("Stopping; visitors who are here may finish. Ctrl-C again stops at once.")
	}
}

// retrying says why there is no connection, once for each cause.
func (s *screen) retrying(e agent.Retrying) {
	text := cause(e.Cause)
	if !e.Lost && text == s.trouble && s.now().Sub(s.troubleAt) < repeatAfter {
		return
	}
	s.trouble, s.troubleAt = text, s.now()
	if e.Lost {
		s.line("Lost the connection: %s. Next try in %s.", text, wait(e.In))
	} else {
		s.line("No connection: %s. Trying until there is; next in %s.", text, wait(e.In))
	}
}

func (s *screen) tunnelOnline(e agent.TunnelOnline) {
	s.trouble = ""
	for _, url := range e.URLs {
		if e.Again {
			s.line("Online again: %s", url)
		} else {
			s.line("Online: %s -> %s", url, e.ForwardsTo)
		}
	}
	if !s.online {
		s.online = true
		s.line("Ctrl-C ends it.")
	}
}

func (s *screen) line(format string, args ...any) {
	text := strings.ReplaceAll(printable(fmt.Sprintf(format, args...)), "\n", " ")
	_, _ = fmt.Fprintf(s.out, "%s  %s\n", s.now().Format(time.TimeOnly), text)
}

// journal is a log.
type journal struct{ log *slog.Logger }

func (j *journal) write(e agent.Event) {
	switch e := e.(type) {
	case agent.Connecting:
		j.log.Info("connecting", "server", e.Server)
	case agent.Connected:
		j.log.Info("connected", "connector", e.Connector, "additional", e.Additional)
		if e.Banner != "" && !e.Additional {
			j.log.Info("the server's operator says", "banner", e.Banner)
		}
	case agent.Narrowed:
		j.log.Info("one connection was lost, another one serves", "connector", e.Connector, "cause", cause(e.Cause))
	case agent.Retrying:
		j.log.Warn("no connection", "cause", cause(e.Cause), "next_try_in", wait(e.In), "lost", e.Lost)
	case agent.TunnelOnline:
		for _, url := range e.URLs {
			j.log.Info("tunnel online", "url", url, "forwards_to", e.ForwardsTo, "again", e.Again)
		}
	case agent.TunnelWaiting:
		j.log.Warn("tunnel refused for now, trying again", "forwards_to", e.ForwardsTo, "cause", cause(e.Cause))
	case agent.TunnelEnded:
		j.log.Warn("the server ended the tunnel, asking for it again", "urls", e.URLs)
	case agent.Upstream:
		j.upstream(e)
	case agent.TakenOver:
		j.log.Warn("another process uses this agent's identity, going on under a new one")
	case agent.Notice:
		j.log.Warn("notice", "text", e.Text)
	case agent.Stopping:
		j.log.Info("stopping")
	}
}

func (j *journal) upstream(e agent.Upstream) {
	if e.Code == proxyv1.Code_CODE_OK {
		j.log.Info("the local service answers again", "service", e.Upstream.String(), "failed_meanwhile", e.Repeated)
		return
	}
	j.log.Warn("the local service cannot be reached", "service", e.Upstream.String(), "code", codeName(e.Code), "cause", e.Cause, "repeated", e.Repeated)
}

func upstreamText(e agent.Upstream) string {
	service := e.Upstream.String()
	if e.Code == proxyv1.Code_CODE_OK {
		return fmt.Sprintf("The local service %s answers again.", service)
	}
	text := fmt.Sprintf("The local service %s cannot be reached: %s", service, e.Cause)
	if e.Repeated > 0 {
		text += fmt.Sprintf(" (%d more times)", e.Repeated)
	}
	return text
}

// codeName is the code as visitors and logs see it.
func codeName(c proxyv1.Code) string { return strings.TrimPrefix(c.String(), "CODE_") }

// wait rounds a wait for the eye.
func wait(d time.Duration) string {
	if d < time.Second {
		return "a moment"
	}
	return d.Round(time.Second).String()
}
