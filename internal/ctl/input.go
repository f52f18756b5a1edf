package ctl

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// maxInput bounds what is read from a file, in bytes.
const maxInput = 1 << 20

// inputFlags say what a resource is to be like.
type inputFlags struct {
	Fields []string `arg:"" name:"field=value" optional:"" help:"What to set, such as description=shop; repeat for a list (dialbackctl kinds shows the fields)."`
	File   string   `env:"-" short:"f" placeholder:"FILE" help:"A resource as JSON or YAML; '-': stdin. Fields on the command line beat it."`
}

// fill reads file and fields into a message, and returns the paths that are set.
func (f *inputFlags) fill(m proto.Message) (paths []string, err error) {
	tree := map[string]any{}
	if f.File != "" {
		if tree, err = readTree(f.File); err != nil {
			return nil, err
		}
	}
	given := map[string]any{}
	for _, text := range f.Fields {
		path, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want field=value", text)
		}
		if err := set(given, m.ProtoReflect().Descriptor(), strings.Split(path, "."), value); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
	}
	merge(tree, given)
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("this is no %s: %s", m.ProtoReflect().Descriptor().Name(), strings.ReplaceAll(err.Error(), "\u00a0", " "))
	}
	return leaves("", tree, m.ProtoReflect().Descriptor()), nil
}

func readTree(name string) (map[string]any, error) {
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name) // #nosec G304 -- the user's own choice
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxInput))
	if err != nil {
		return nil, err
	}
	tree := map[string]any{}
	if err := yaml.Unmarshal(data, &tree); err != nil { // JSON is YAML
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return tree, nil
}

// set puts a value where a path of fields leads to, in the form that JSON has of
// the field's type.
func set(tree map[string]any, m protoreflect.MessageDescriptor, path []string, text string) error {
	f := m.Fields().ByName(protoreflect.Name(path[0]))
	if f == nil {
		return fmt.Errorf("%s has no field %q; there are: %s", m.Name(), path[0], strings.Join(fieldNames(m), ", "))
	}
	if len(path) > 1 {
		if f.Kind() != protoreflect.MessageKind || f.IsMap() || f.IsList() {
			return fmt.Errorf("%s has no fields of its own", path[0])
		}
		inner, ok := tree[path[0]].(map[string]any)
		if !ok {
			inner = map[string]any{}
			tree[path[0]] = inner
		}
		return set(inner, f.Message(), path[1:], text)
	}
	value, err := jsonValue(f, text)
	if err != nil {
		return err
	}
	if f.IsList() {
		list, _ := tree[path[0]].([]any)
		tree[path[0]] = append(list, value)
		return nil
	}
	tree[path[0]] = value
	return nil
}

func jsonValue(f protoreflect.FieldDescriptor, text string) (any, error) {
	switch f.Kind() {
	case protoreflect.BoolKind:
		switch text {
		case "true", "yes":
			return true, nil
		case "false", "no":
			return false, nil
		}
		return nil, fmt.Errorf("want true or false")
	case protoreflect.EnumKind:
		return enumValue(f.Enum(), text)
	case protoreflect.MessageKind:
		if _, ok := protoMessage(f.Message()).(*durationpb.Duration); !ok {
			return text, nil
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("want a duration such as 720h")
		}
		return fmt.Sprintf("%ds", int64(d.Seconds())), nil
	}
	return text, nil
}

// enumValue takes a name as tables show it, and the contract's own.
func enumValue(e protoreflect.EnumDescriptor, text string) (string, error) {
	var known []string
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		short := enumName(e, v.Number())
		if text == short || text == string(v.Name()) {
			return string(v.Name()), nil
		}
		if v.Number() != 0 {
			known = append(known, short)
		}
	}
	return "", fmt.Errorf("want one of %s", strings.Join(known, ", "))
}

func merge(into, from map[string]any) {
	for name, value := range from {
		inner, isTree := value.(map[string]any)
		if old, ok := into[name].(map[string]any); ok && isTree {
			merge(old, inner)
			continue
		}
		into[name] = value
	}
}

// leaves are the paths of all fields that a tree sets, for an update's mask.
func leaves(prefix string, tree map[string]any, m protoreflect.MessageDescriptor) (paths []string) {
	for name, value := range tree {
		f := m.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			f = m.Fields().ByJSONName(name)
		}
		if f == nil {
			continue // protojson has refused it
		}
		path := prefix + string(f.Name())
		if inner, ok := value.(map[string]any); ok && f.Message() != nil && !f.IsMap() {
			paths = append(paths, leaves(path+".", inner, f.Message())...)
			continue
		}
		paths = append(paths, path)
	}
	return paths
}
