package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// restore follows docs/CLUSTER.md: the store is that of the backup, what was revoked
// since is shut out, what was bound since is bound again, and frontdoors follow.
func restore(t *testing.T, c *Cluster, l *load, r *asker) {
	t.Helper()
	stolen := newToken(t, c)
	backup := filepath.Join(c.config.Dir, "backup.db")
	_, err := c.etcdctlAt(t.Context(), []string{c.addr("etcd-1")}, "snapshot", "save", backup)
	must(t, err)

	_, err = c.Ctl(t.Context(), "token", "revoke", stolen.Token.ID)
	must(t, err)
	late := c.addAgent(t, "agent-2", "--hostname", "late."+Domain)
	before, err := r.tunnel(t.Context(), "late."+Domain)
	must(t, err)
	first, err := r.tunnel(t.Context(), r.name)
	must(t, err)
	audit := filepath.Join(c.config.Dir, "audit.json")
	text, err := c.ctl(t.Context(), "events", "-o", "json")
	must(t, err)
	must(t, os.WriteFile(audit, []byte(text), 0o600))

	for _, kind := range []string{Registry, Auth, Etcd} {
		for _, name := range replicas(kind) {
			c.Part(name).end(stopLimit(kind))
		}
	}
	l.more(t, 50)
	for _, name := range replicas(Etcd) {
		must(t, os.Rename(c.dataDir(name), c.dataDir(name)+".lost"))
		_, err := run(t.Context(), filepath.Join(c.config.Tools, "etcdutl"), append(append([]string{"snapshot", "restore", backup},
			c.membership(name)...), "--bump-revision", "1000000000", "--mark-compacted")...)
		must(t, err)
	}
	for _, kind := range []string{Etcd, Auth, Registry} {
		for _, name := range replicas(kind) {
			must(t, c.Part(name).Start())
		}
	}
	must(t, until(t.Context(), "the revoked token is good again", func(ctx context.Context) error { return c.isGood(ctx, stolen.Token.ID, true) }))
	must(t, until(t.Context(), "the restore is finished", func(ctx context.Context) error {
		_, err := c.ctl(ctx, "restore-finish", "--audit", audit)
		return err
	}))
	must(t, c.isGood(t.Context(), stolen.Token.ID, false))

	l.more(t, 50)
	must(t, until(t.Context(), "the later name is its agent's again", func(ctx context.Context) error {
		now, err := r.tunnel(ctx, "late."+Domain)
		// The agent has a new id: it came behind the backup, too.
		if err == nil && (now.GetTunnelId() != before.GetTunnelId() || len(now.GetAttachments()) == 0) {
			err = fmt.Errorf("it is %v", now)
		}
		return err
	}))
	if now, err := r.tunnel(t.Context(), r.name); err != nil || now.GetAgentId() != first.GetAgentId() || now.GetTunnelId() != first.GetTunnelId() {
		t.Errorf("the first agent's name is %v, and was %v: %v", now, first, err)
	}
	newer := c.addAgent(t, "agent-3", "--hostname", "newer."+Domain)
	for _, url := range []string{c.URL, late, newer} {
		for _, front := range c.Frontdoors() {
			visitor := newVisitor(url, front)
			must(t, until(t.Context(), front+" serves "+url, visitor.Get))
			visitor.Close()
		}
	}
}

// isGood holds while a token's state is as wanted.
func (c *Cluster) isGood(ctx context.Context, id string, want bool) error {
	text, err := c.Ctl(ctx, "token", "list", "--output", "json")
	if err != nil {
		return err
	}
	var list []struct {
		ID      string     `json:"id"`
		Revoked *time.Time `json:"revoke_time"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return err
	}
	for _, token := range list {
		if token.ID == id && (token.Revoked == nil) == want {
			return nil
		}
	}
	return errors.New("it is otherwise: " + text)
}

// addAgent starts one more agent with the first one's token, and returns its URL.
func (c *Cluster) addAgent(t *testing.T, name string, args ...string) string {
	t.Helper()
	part := c.agentPart(name, args...)
	must(t, c.start(part))
	var url string
	must(t, until(t.Context(), name+" has its URL", func(context.Context) error {
		text, err := os.ReadFile(part.Log())
		if url = string(c.publicURL().Find(text)); err == nil && url == "" {
			err = errors.New("not yet: " + string(text))
		}
		return err
	}))
	return url
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
