// Package pki keeps the authorities of a deployment in a folder, issues the
// certificates of its nodes, and replaces both while the deployment runs.
//
// Three authorities, so that the key of one cannot stand for another: one for
// service identities and nothing else, one for the names that agents dial, one
// for etcd's members. The folder holds
//
//	pki.json            the domain, the authorities' generations, the nodes
//	ca/                 the authorities. Who reads it can be anybody: keep it offline
//	<role>/<name>/      all that one node needs, to be copied to it
//
// An authority is replaced in three steps, with time between them for every
// node and agent to hear of each:
//
//	prepare   a next authority is trusted beside the current one
//	switch    certificates come from the next one; the previous is still trusted
//	finish    the previous one is trusted no longer, and its key is gone
//
// At any moment, a peer that has heard of the step and one that is a step behind
// trust each other.
package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dialback/dialback/internal/hostname"
)

const manifestFile = "pki.json"

// Store is the folder. It is for one process at a time.
type Store struct {
	dir      string
	manifest manifest
}

// manifest is the content of pki.json.
type manifest struct {
	Domain      string                    `json:"domain"`
	Authorities map[Authority]generations `json:"authorities"`
	Nodes       []Node                    `json:"nodes"`
}

// Init makes the folder, the authorities and the first administrator. It is an
// error if the folder has some already: agents pin them.
func Init(dir, domain string) (*Store, error) {
	name, err := hostname.Normalize(domain)
	if err != nil {
		return nil, fmt.Errorf("domain: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, manifestFile)); err == nil {
		return nil, fmt.Errorf("%s has authorities already, which are pinned and trusted; name another folder", dir)
	}
	s := &Store{dir: dir, manifest: manifest{Domain: name, Authorities: map[Authority]generations{}}}
	if err := os.MkdirAll(s.caDir(), 0o700); err != nil {
		return nil, err
	}
	for _, a := range Authorities() {
		s.manifest.Authorities[a] = generations{Current: 1}
		if err := s.create(a, 1); err != nil {
			return nil, err
		}
	}
	if err := s.save(); err != nil {
		return nil, err
	}
	for _, n := range []Node{{Role: RoleAdmin, Name: "admin"}, {Role: RoleEtcdRoot, Name: "root"}} {
		if _, err := s.Issue(n); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Open reads a folder that Init has made.
func Open(dir string) (*Store, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no authorities; make them with: dialbackctl pki init", dir)
	}
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir}
	if err := json.Unmarshal(text, &s.manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifestFile), err)
	}
	for _, a := range Authorities() {
		if s.manifest.Authorities[a].Current == 0 {
			return nil, fmt.Errorf("%s does not say which %s is the current one", filepath.Join(dir, manifestFile), a)
		}
	}
	return s, nil
}

// Domain returns the deployment's domain.
func (s *Store) Domain() string { return s.manifest.Domain }

// Nodes returns all that have certificates, by role and name.
func (s *Store) Nodes() []Node { return slices.Clone(s.manifest.Nodes) }

// Dir returns the folder of a node.
func (s *Store) Dir(n Node) string { return filepath.Join(s.dir, n.Role, n.Name) }

func (s *Store) caDir() string { return filepath.Join(s.dir, "ca") }

// remember enters a node, or replaces what is known of it.
func (s *Store) remember(n Node) error {
	nodes := slices.DeleteFunc(slices.Clone(s.manifest.Nodes), n.is)
	nodes = append(nodes, n)
	slices.SortFunc(nodes, func(a, b Node) int {
		return strings.Compare(a.Role+"/"+a.Name, b.Role+"/"+b.Name)
	})
	s.manifest.Nodes = nodes
	return s.save()
}

// save replaces the manifest in one step: which authority is the current one
// must never be half known.
func (s *Store) save() error {
	text, err := json.MarshalIndent(s.manifest, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, manifestFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
