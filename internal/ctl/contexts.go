package ctl

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/dialback/dialback/internal/ctlconfig"
	"github.com/dialback/dialback/internal/secret"
)

type configCommands struct {
	GetContexts   contextsGet    `cmd:"" name:"get-contexts" help:"List the contexts."`
	UseContext    contextsUse    `cmd:"" name:"use-context" help:"Make a context the current one."`
	SetContext    contextsSet    `cmd:"" name:"set-context" help:"Add a context, or change it."`
	DeleteContext contextsDelete `cmd:"" name:"delete-context" help:"Forget a context."`
}

// contexts reads the file, has f change it, and writes it if f says so.
func contexts(f func(*ctlconfig.Config) (changed bool, err error)) error {
	path, err := ctlconfig.DefaultPath()
	if err != nil {
		return err
	}
	c, err := ctlconfig.Load(path)
	if err != nil {
		return err
	}
	changed, err := f(c)
	if err != nil || !changed {
		return err
	}
	return c.Save(path)
}

type contextsGet struct{}

// Run prints the contexts, never their keys.
func (contextsGet) Run(e *env) error {
	return contexts(func(c *ctlconfig.Config) (bool, error) {
		rows := [][]string{{"CURRENT", "NAME", "SERVER", "KEY"}}
		for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
			current, key := "", "-"
			if name == c.Current {
				current = "*"
			}
			if c.Contexts[name].Key != "" {
				key = c.Contexts[name].Key.String()
			}
			rows = append(rows, []string{current, name, c.Contexts[name].Server, key})
		}
		t := table{w: e.stdout}
		return false, t.write(rows...)
	})
}

type contextsUse struct {
	Name string `arg:"" help:"Of the context."`
}

// Run makes a context the current one.
func (c *contextsUse) Run(e *env) error {
	return contexts(func(config *ctlconfig.Config) (bool, error) {
		if _, ok := config.Contexts[c.Name]; !ok {
			return false, errNoContext(c.Name)
		}
		config.Current = c.Name
		e.note("%s is the current context now.", c.Name)
		return true, nil
	})
}

type contextsSet struct {
	Name    string `arg:"" help:"Of the context."`
	URL     string `name:"url" env:"-" help:"Base URL of REST, such as https://api.example.com."`
	KeyFile string `env:"-" type:"path" placeholder:"FILE" help:"File with the API key; a key on the command line would be seen by others. /dev/stdin works."`
	CAFile  string `name:"ca-file" env:"-" type:"path" placeholder:"FILE" help:"Certificates that the server's is checked with, PEM; none: the system's."`
	Use     bool   `env:"-" help:"Make it the current one, too."`
}

// Run adds a context or changes what is given of it.
func (c *contextsSet) Run(e *env) error {
	return contexts(func(config *ctlconfig.Config) (bool, error) {
		one := config.Contexts[c.Name]
		if c.URL != "" {
			one.Server = c.URL
		}
		if c.CAFile != "" {
			one.CAFile = c.CAFile
		}
		if c.KeyFile != "" {
			data, err := os.ReadFile(c.KeyFile)
			if err != nil {
				return false, err
			}
			one.Key = secret.String(strings.TrimSpace(string(data)))
		}
		config.Set(c.Name, one)
		if c.Use {
			config.Current = c.Name
		}
		e.note("Context %s is set.", c.Name)
		return true, nil
	})
}

type contextsDelete struct {
	Name string `arg:"" help:"Of the context."`
}

// Run forgets a context. If it was the current one, there is none.
func (c *contextsDelete) Run(e *env) error {
	return contexts(func(config *ctlconfig.Config) (bool, error) {
		if _, ok := config.Contexts[c.Name]; !ok {
			return false, errNoContext(c.Name)
		}
		delete(config.Contexts, c.Name)
		if config.Current == c.Name {
			config.Current = ""
		}
		e.note("Context %s is gone.", c.Name)
		return true, nil
	})
}

func errNoContext(name string) error {
	return fmt.Errorf("there is no context %q; dialbackctl config get-contexts lists them", name)
}
