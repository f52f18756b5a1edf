package ctl

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dialback/dialback/internal/ctlconfig"
)

// The scripts ask the program itself for the words that could come next.
var scripts = map[string]string{
	"bash": `_dialbackctl() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(dialbackctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _dialbackctl dialbackctl
`,
	"zsh": `#compdef dialbackctl
_dialbackctl() {
  local -a words_next
  words_next=("${(@f)$(dialbackctl complete -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
  compadd -a words_next
}
compdef _dialbackctl dialbackctl
`,
	"fish": `complete -c dialbackctl -f -a '(dialbackctl complete -- (commandline -opc)[2..-1] 2>/dev/null)'
`,
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish: source <(dialbackctl completion bash)."`
}

// Run prints a script for a shell to read.
func (c *completionCommand) Run(e *env) error {
	_, err := fmt.Fprint(e.stdout, scripts[c.Shell])
	return err
}

// completeWithin is how long a person who has pressed Tab waits for the server.
const completeWithin = 2 * time.Second

type completeCommand struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"Words of the command line so far."`
}

// Run prints the words that could come next, one a line.
func (c *completeCommand) Run(ctx context.Context, app *kong.Kong, e *env) error {
	words := slices.DeleteFunc(slices.Clone(c.Words), func(w string) bool { return strings.HasPrefix(w, "-") })
	node := app.Model.Node
	for len(words) > 0 {
		next := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == words[0] })
		if next < 0 {
			break
		}
		node, words = node.Children[next], words[1:]
	}
	for _, word := range e.next(ctx, node, words) {
		if _, err := fmt.Fprintln(e.stdout, word); err != nil {
			return err
		}
	}
	return nil
}

// next are the commands below a node, its flags, and what its next argument can be.
func (e *env) next(ctx context.Context, node *kong.Node, given []string) []string {
	var words []string
	for _, child := range node.Children {
		if !child.Hidden && len(given) == 0 {
			words = append(words, child.Name)
		}
	}
	if len(given) < len(node.Positional) || len(node.Positional) > 0 && node.Positional[len(node.Positional)-1].IsSlice() {
		argument := node.Positional[min(len(given), len(node.Positional)-1)]
		words = append(words, e.candidates(ctx, argument, given)...)
	}
	for _, f := range node.Flags {
		if !f.Hidden {
			words = append(words, "--"+f.Name)
		}
	}
	return words
}

func (e *env) candidates(ctx context.Context, argument *kong.Positional, given []string) []string {
	switch argument.Name {
	case "kind":
		return kindNames()
	case "name": // of a context
		path, err := ctlconfig.DefaultPath()
		if err != nil {
			return nil
		}
		c, err := ctlconfig.Load(path)
		if err != nil {
			return nil
		}
		return slices.Sorted(maps.Keys(c.Contexts))
	case "id":
		return e.ids(ctx, given[0])
	case "node":
		return e.ids(ctx, "nodes")
	case "field=value":
		if k, err := findKind(given[0]); err == nil && k.create != nil {
			names := fieldNames(k.create.ProtoReflect().Descriptor())
			for i := range names {
				names[i] += "="
			}
			return names
		}
	}
	if argument.Enum != "" {
		return strings.Split(argument.Enum, ",")
	}
	return nil
}

// ids are those of a kind's resources, as far as the server says at once.
func (e *env) ids(ctx context.Context, name string) []string {
	k, err := findKind(name)
	if err != nil {
		return nil
	}
	client, err := e.rest()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	s := &show{command: &getCommand{}, env: e, kind: k, client: client}
	page, err := s.list(ctx)
	if err != nil {
		return nil
	}
	var ids []string
	list := page.ProtoReflect().Get(listField(page)).List()
	for i := range list.Len() {
		m := list.Get(i).Message()
		ids = append(ids, m.Get(m.Descriptor().Fields().ByName(protoreflect.Name("id"))).String())
	}
	return ids
}
