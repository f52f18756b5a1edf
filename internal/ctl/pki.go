package ctl

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/dialback/dialback/internal/pki"
)

// pkiCommands work on a folder and call nobody.
type pkiCommands struct {
	Dir string `required:"" env:"DIALBACK_PKI" type:"path" placeholder:"DIR" help:"Folder with the authorities' keys; keep it off the cluster."`

	Init   pkiInit   `cmd:"" help:"Make the authorities and an administrator's credentials."`
	Issue  pkiIssue  `cmd:"" help:"Make a node's certificates, or renew them."`
	Rotate pkiRotate `cmd:"" help:"Renew all certificates, or replace an authority step by step."`
	Pins   pkiPins   `cmd:"" help:"Print the pins that agents need, one a line."`
	Show   pkiShow   `cmd:"" help:"Show authorities, pins, nodes and when their certificates end."`
}

type pkiInit struct {
	Domain string `required:"" env:"-" help:"The deployment's domain."`
}

// Run makes what is needed once for a deployment.
func (c *pkiInit) Run(e *env) error {
	store, err := pki.Init(e.pki.Dir, c.Domain)
	if err != nil {
		return err
	}
	e.note("Authorities for %s are in %s. Its keys can stand for the whole deployment: keep them off the cluster.", store.Domain(), e.pki.Dir)
	e.note("For dialbackctl: --credentials %s", store.Dir(pki.Node{Role: pki.RoleAdmin, Name: "admin"}))
	e.note("Next, for each node: dialbackctl pki issue --dir %s ROLE NAME", e.pki.Dir)
	return printPins(e, store)
}

type pkiIssue struct {
	Role string   `arg:"" help:"auth, registry, connector, frontdoor, admin, etcd (a member) or etcd-root (etcd's administrator)."`
	Name string   `arg:"" help:"Of the node, a DNS label."`
	Host []string `env:"-" help:"Name or IP address of an etcd member; several."`
}

// Run prints the folder that is to be copied to the node.
func (c *pkiIssue) Run(e *env) error {
	store, err := pki.Open(e.pki.Dir)
	if err != nil {
		return err
	}
	dir, err := store.Issue(pki.Node{Role: c.Role, Name: c.Name, Hosts: c.Host})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, dir)
	return err
}

type pkiRotate struct {
	What string `arg:"" enum:"leaf,service-ca,proxy-ca,etcd-ca" help:"leaf: all certificates. Or an authority: service-ca, proxy-ca, etcd-ca."`
	Step string `arg:"" optional:"" enum:",prepare,switch,finish" default:"" help:"Of an authority's replacement: prepare, switch, finish."`
}

// Run does one step and says what has to happen before the next.
func (c *pkiRotate) Run(e *env) error {
	store, err := pki.Open(e.pki.Dir)
	if err != nil {
		return err
	}
	if c.What == "leaf" {
		if c.Step != "" {
			return errors.New("rotate leaf: has no steps")
		}
		if err := store.Renew(); err != nil {
			return err
		}
		e.note("All certificates are new. Copy the nodes' folders to them; services read them without a restart.")
		return nil
	}
	authority := pki.Authority(c.What)
	switch c.Step {
	case "prepare":
		err = store.Prepare(authority)
	case "switch":
		err = store.Switch(authority)
	case "finish":
		err = store.Finish(authority)
	default:
		return fmt.Errorf("rotate %s: name the step: prepare, switch or finish", c.What)
	}
	if err != nil {
		return err
	}
	e.note("%s", advice(authority, c.Step))
	if authority == pki.ProxyCA {
		return printPins(e, store)
	}
	return nil
}

// advice says what has to happen before the next step.
func advice(a pki.Authority, step string) string {
	hear := map[pki.Authority]string{
		pki.ServiceCA: "Copy the nodes' folders to them and restart one service after the other, etcd's members too: they read authorities at their start.",
		pki.ProxyCA:   "Give all of these pins to auth (--ca-pin) and to the connectors (--proxy-ca-pin), restart them one after the other, and add them to every agent's configuration.",
		pki.EtcdCA:    "Copy the folders of etcd's members, auth and registry to them and restart one after the other: they read authorities at their start.",
	}[a]
	switch step {
	case "prepare":
		return hear + "\nThen: dialbackctl pki rotate " + string(a) + " switch"
	case "switch":
		return "Certificates come from the new authority, and the previous one is still trusted. Copy the nodes' folders to them; services read certificates without a restart." +
			"\nThen: dialbackctl pki rotate " + string(a) + " finish"
	default:
		return "The previous authority is gone. " + hear
	}
}

type pkiPins struct{}

// Run prints pins.
func (pkiPins) Run(e *env) error {
	store, err := pki.Open(e.pki.Dir)
	if err != nil {
		return err
	}
	return printPins(e, store)
}

func printPins(e *env, store *pki.Store) error {
	pins, err := store.Pins()
	if err != nil {
		return err
	}
	for _, pin := range pins {
		if _, err := fmt.Fprintln(e.stdout, pin); err != nil {
			return err
		}
	}
	return nil
}

type pkiShow struct{}

// Run prints a table of authorities and one of nodes.
func (pkiShow) Run(e *env) error {
	store, err := pki.Open(e.pki.Dir)
	if err != nil {
		return err
	}
	authorities, err := store.Status()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	row := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format, args...) } // Flush returns the error
	row("AUTHORITY\tSTATE\tTRUSTED\n")
	for _, a := range authorities {
		for i, pin := range a.Pins {
			row("%s\t%s\t%s\n", first(i, string(a.Authority)), first(i, string(a.Step)), pin)
		}
	}
	row("\nROLE\tNAME\tEXPIRES\n")
	for _, n := range store.Nodes() {
		end, err := store.Expiry(n)
		if err != nil {
			return err
		}
		row("%s\t%s\t%s (%s)\n", n.Role, n.Name, end.UTC().Format("2006-01-02 15:04 UTC"), relative(end.Sub(e.now())))
	}
	return table.Flush()
}

// first leaves a cell empty that repeats the one above.
func first(i int, text string) string {
	if i > 0 {
		return ""
	}
	return text
}
