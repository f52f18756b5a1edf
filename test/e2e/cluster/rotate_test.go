package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVisitorsAreServedWhileTheServicesAuthorityIsReplaced(t *testing.T) {
	c := start(t) // not in parallel: it fills the machine
	l := startLoad(t, c)
	before, err := os.ReadFile(c.credential(Registry, "registry-1", "service-ca.crt"))
	must(t, err)
	rotate := func(step string) {
		t.Helper()
		_, err := c.ctl(t.Context(), "pki", "rotate", "--dir", c.pkiDir(), "service-ca", step)
		must(t, err)
	}
	rotate("prepare")
	restartAll(t, c, l)
	rotate("switch")
	for _, name := range services() {
		must(t, until(t.Context(), name+" has its new certificate", func(context.Context) error {
			return says(c.Part(name), "certificate reloaded", "service.crt")
		}))
	}
	rotate("finish")
	restartAll(t, c, l)
	l.more(t, 200)
	t.Logf("%d requests answered, %d connections lost with a frontdoor", l.answered.Load(), l.lost.Load())

	after, err := os.ReadFile(c.credential(Registry, "registry-1", "service-ca.crt"))
	must(t, err)
	if string(before) == string(after) {
		t.Error("the authority is the old one")
	}
	if left, _ := filepath.Glob(filepath.Join(c.pkiDir(), "ca", "service-ca-1.*")); left != nil {
		t.Errorf("the old authority is still there: %v", left)
	}
}

func services() []string {
	var names []string
	for _, kind := range []string{Auth, Registry, Connector, Frontdoor} {
		names = append(names, replicas(kind)...)
	}
	return names
}

// restartAll restarts one part after the other, in order, as an operator does.
func restartAll(t *testing.T, c *Cluster, l *load) {
	t.Helper()
	for _, name := range append(replicas(Etcd), services()...) {
		p := c.Part(name)
		l.end(p, func() { p.end(stopLimit(p.Kind)) })
		must(t, os.Truncate(p.Log(), 0))
		must(t, p.Start())
		must(t, until(t.Context(), name+" is back", func(ctx context.Context) error {
			if p.Kind == Connector {
				return says(p, "msg=registered")
			}
			return isBack(ctx, c, name)
		}))
		l.more(t, 20)
	}
}

// says reports whether a line of a part's log has all the words.
func says(p *Part, words ...string) error {
	text, err := os.ReadFile(p.Log())
	if err != nil {
		return err
	}
lines:
	for line := range strings.Lines(string(text)) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		return nil
	}
	return fmt.Errorf("%s does not say %q", p.Name, words)
}
