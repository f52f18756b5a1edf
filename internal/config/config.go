// Package config fills a struct with kong tags from command line, environment and
// one YAML file: flags beat the environment, which beats the file, which beats the
// defaults in the tags.
package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// Options describe the program.
type Options struct {
	Name        string // of the program, as it is called
	Description string // one sentence, for --help
	EnvPrefix   string // "DIALBACK_": the flag --proxy-domain is DIALBACK_PROXY_DOMAIN
	Version     string // what --version prints
	// Vars replace ${name} in the tags of the struct.
	Vars map[string]string

	// Stdout takes the text of --help and --version; nil: os.Stdout.
	Stdout io.Writer
	// Exit ends the program behind --help and --version; nil: os.Exit.
	Exit func(code int)
}

// common is the flags that every program has.
type common struct {
	Config  string           `name:"config" type:"path" placeholder:"FILE" help:"YAML file; its keys are the names of the flags."`
	Version kong.VersionFlag `name:"version" env:"-" help:"Print the version and exit."`
}

// Parse fills cli, a pointer to a struct with kong tags. args are without the
// program's name. An error says what to do and is meant for the user; the program
// prints it and exits with a code other than zero.
func Parse(cli any, args []string, opts Options) (*kong.Context, error) {
	parser, err := newParser(cli, opts)
	if err != nil {
		return nil, err
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, fmt.Errorf("%w; see %s --help", err, opts.Name)
	}
	return ctx, nil
}

func newParser(cli any, opts Options) (*kong.Kong, error) {
	if opts.Stdout == nil {
		opts.Stdout = os.Stdout
	}
	flags := &common{}
	file := &fileResolver{}
	vars := kong.Vars(opts.Vars).CloneWith(kong.Vars{"version": opts.Version})
	options := []kong.Option{
		kong.Name(opts.Name),
		kong.Description(opts.Description),
		vars,
		kong.Embed(flags),
		kong.Resolvers(file),
		kong.Writers(opts.Stdout, opts.Stdout),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.PostBuild(func(k *kong.Kong) error {
			file.flags = allFlags(k.Model.Node)
			nameVariables(file.flags, opts.EnvPrefix)
			return nil
		}),
	}
	if opts.Exit != nil {
		options = append(options, kong.Exit(opts.Exit))
	}
	parser, err := kong.New(cli, options...)
	if err != nil {
		return nil, fmt.Errorf("the flags of %s: %w", opts.Name, err)
	}
	return parser, nil
}

// allFlags returns the flags of the program and of all its commands, by name:
// commands may have flags of the same name.
func allFlags(node *kong.Node) map[string][]*kong.Flag {
	flags := make(map[string][]*kong.Flag)
	var visit func(*kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			flags[f.Name] = append(flags[f.Name], f)
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(node)
	return flags
}

// nameVariables gives every flag its environment variable, except those that name
// their own, or none (`env:"-"`).
func nameVariables(flags map[string][]*kong.Flag, prefix string) {
	for name, same := range flags {
		for _, f := range same {
			switch {
			case name == "help" || len(f.Envs) == 1 && f.Envs[0] == "-":
				f.Envs, f.Tag.Envs = nil, nil
			case len(f.Envs) == 0:
				env := prefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
				f.Envs, f.Tag.Envs = []string{env}, []string{env}
			}
		}
	}
}
