package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file, in bytes. YAML's aliases are not resolved, so
// that a small file cannot become a large one either.
const maxFile = 1 << 20

// fileResolver gives kong the values of the file that --config names.
type fileResolver struct {
	flags map[string][]*kong.Flag

	loaded bool
	path   string
	values map[string]*yaml.Node
}

// Validate has nothing left to do: load did it, before any value was used.
func (*fileResolver) Validate(*kong.Application) error { return nil }

// Resolve returns the file's value of a flag in the form that it would have on the
// command line, or nil. kong asks for flags that the command line does not have, but
// would let a resolver override the environment.
func (r *fileResolver) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	node, ok := r.values[flag.Name]
	if !ok || inEnvironment(flag) {
		return nil, nil
	}
	text, err := flagText(flag, node)
	if err == nil {
		err = tryDecode(flag, text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%d: key %q: %w", r.path, node.Line, flag.Name, err)
	}
	return text, nil
}

func inEnvironment(flag *kong.Flag) bool {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return true
		}
	}
	return false
}

// tryDecode makes the error that kong would make, while the file is still known.
func tryDecode(flag *kong.Flag, text string) error {
	target := reflect.New(flag.Target.Type()).Elem()
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
	}
	scan := kong.Scan().PushTyped(text, kong.FlagValueToken)
	return flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, target)
}

// load reads the file once, and refuses keys that are no flags.
func (r *fileResolver) load(ctx *kong.Context) error {
	if r.loaded {
		return nil
	}
	r.loaded = true
	r.path, _ = ctx.FlagValue(r.flags["config"][0]).(string)
	if r.path == "" {
		return nil
	}
	mapping, err := readMapping(r.path)
	if err != nil {
		return err
	}
	r.values = make(map[string]*yaml.Node, len(mapping)/2)
	for i := 0; i+1 < len(mapping); i += 2 {
		key, value := mapping[i], mapping[i+1]
		if !r.isKey(key.Value) {
			return fmt.Errorf("%s:%d: unknown key %q; keys are the names of the flags, without --", r.path, key.Line, key.Value)
		}
		if r.values[key.Value] != nil {
			return fmt.Errorf("%s:%d: key %q is there twice; remove one", r.path, key.Line, key.Value)
		}
		r.values[key.Value] = value
	}
	return nil
}

// isKey leaves out the flags that make no sense in the file.
func (r *fileResolver) isKey(name string) bool {
	return len(r.flags[name]) > 0 && name != "config" && name != "help" && name != "version"
}

// readMapping returns keys and values of the file's one mapping, in turn.
func readMapping(path string) ([]*yaml.Node, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the configuration file: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	limited := &io.LimitedReader{R: f, N: maxFile + 1}
	dec := yaml.NewDecoder(limited)
	var doc yaml.Node
	err = dec.Decode(&doc)
	if limited.N <= 0 {
		return nil, fmt.Errorf("%s: the file is larger than %d bytes", path, maxFile)
	}
	if errors.Is(err, io.EOF) {
		return nil, nil // empty, or comments only
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is more than one document; keep the first", path)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: this is not a list of \"key: value\" lines", path, root.Line)
	}
	return root.Content, nil
}
