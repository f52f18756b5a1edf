package cluster

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
)

// startEtcd starts the members and then lets in only whom the store is for: each
// service that has a store is a user of its own, known by the name in its
// certificate, with a role on its own prefix.
func (c *Cluster) startEtcd(ctx context.Context) error {
	for _, name := range replicas(Etcd) {
		if err := c.start(&Part{Name: name, Kind: Etcd, program: filepath.Join(c.config.Tools, "etcd"), args: c.memberArgs(name)}); err != nil {
			return err
		}
	}
	if err := until(ctx, "etcd is healthy", func(ctx context.Context) error {
		_, err := c.etcdctl(ctx, "endpoint", "health")
		return err
	}); err != nil {
		return err
	}
	return c.enableAuth(ctx)
}

func (c *Cluster) memberArgs(name string) []string {
	file := func(file string) string { return c.credential(Etcd, name, file) }
	clients, others := "https://"+c.addr(name), "https://"+c.addr(name+peers)
	return append(c.membership(name),
		"--listen-client-urls", clients, "--advertise-client-urls", clients,
		"--listen-peer-urls", others,
		"--client-cert-auth", "--trusted-ca-file", file("clients-ca.crt"),
		"--cert-file", file("etcd.crt"), "--key-file", file("etcd.key"),
		"--peer-client-cert-auth", "--peer-trusted-ca-file", file("etcd-ca.crt"),
		"--peer-cert-file", file("etcd.crt"), "--peer-key-file", file("etcd.key"),
		"--log-level", "warn",
		"--unsafe-no-fsync", // the data lives as long as the cluster
	)
}

// membership is what a member is told of its cluster, and what a restored one is.
func (c *Cluster) membership(name string) []string {
	var members []string
	for _, member := range replicas(Etcd) {
		members = append(members, member+"=https://"+c.addr(member+peers))
	}
	return []string{
		"--name", name, "--data-dir", c.dataDir(name), "--initial-advertise-peer-urls", "https://" + c.addr(name+peers),
		"--initial-cluster", strings.Join(members, ","), "--initial-cluster-token", "dialback",
	}
}

func (c *Cluster) dataDir(member string) string { return filepath.Join(c.config.Dir, "etcd", member) }

func (c *Cluster) enableAuth(ctx context.Context) error {
	steps := []string{"user add root --no-password", "user grant-role root root"}
	for _, service := range []string{Auth, Registry} {
		user := "dialback-" + service
		steps = append(steps,
			"role add "+user,
			"role grant-permission "+user+" --prefix=true readwrite /dialback/"+service+"/",
			"user add "+user+" --no-password",
			"user grant-role "+user+" "+user)
	}
	for _, step := range append(steps, "auth enable") {
		if _, err := c.etcdctl(ctx, strings.Fields(step)...); err != nil {
			return err
		}
	}
	return nil
}

// etcdctl runs a command as etcd's administrator.
func (c *Cluster) etcdctl(ctx context.Context, args ...string) (string, error) {
	return c.etcdctlAt(ctx, c.addrs(Etcd), args...)
}

// etcdctlAt asks these members only.
func (c *Cluster) etcdctlAt(ctx context.Context, members []string, args ...string) (string, error) {
	file := func(file string) string { return c.credential("etcd-root", "root", file) }
	return run(ctx, filepath.Join(c.config.Tools, "etcdctl"), append([]string{
		"--endpoints", strings.Join(members, ","),
		"--cacert", file("etcd-ca.crt"), "--cert", file("etcd.crt"), "--key", file("etcd.key"),
	}, args...)...)
}

// addrs are where the parts of a kind are called.
func (c *Cluster) addrs(kind string) []string {
	var list []string
	for _, name := range replicas(kind) {
		list = append(list, c.addr(name))
	}
	return list
}

// revision is etcd's current one.
func (c *Cluster) revision(ctx context.Context) (int64, error) {
	text, err := c.etcdctl(ctx, "get", "none", "--write-out", "json")
	if err != nil {
		return 0, err
	}
	var answer struct{ Header struct{ Revision int64 } }
	err = json.Unmarshal([]byte(text), &answer)
	return answer.Header.Revision, err
}
