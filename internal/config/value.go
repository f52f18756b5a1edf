package config

import (
	"errors"
	"reflect"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

var (
	errNotScalar  = errors.New("one value is wanted here, not a list or a mapping")
	errNotList    = errors.New("a list of values is wanted here, not a mapping")
	errNotMapping = errors.New("a mapping is wanted here")
	errNull       = errors.New("it has no value; give one or remove the key")
	errNoList     = errors.New("exactly one value is wanted here")
)

// flagText writes a YAML value as the command line would have it, so that a value
// means the same in both: "30" is no duration and "1.5" no integer.
func flagText(flag *kong.Flag, node *yaml.Node) (string, error) {
	kind := flag.Target.Kind()
	switch {
	case kind == reflect.Slice && node.Kind == yaml.SequenceNode:
		return list(flag.Tag.Sep, node.Content)
	case kind == reflect.Slice && node.Kind == yaml.MappingNode:
		return "", errNotList
	case kind == reflect.Map && node.Kind == yaml.MappingNode:
		return mapping(flag.Tag.MapSep, node.Content)
	case kind == reflect.Map:
		return "", errNotMapping
	}
	return scalar(node)
}

func scalar(node *yaml.Node) (string, error) {
	switch {
	case node.Kind != yaml.ScalarNode:
		return "", errNotScalar
	case node.Tag == "!!null":
		return "", errNull
	}
	return node.Value, nil
}

// list joins the elements by the flag's separator; -1 is a flag that has none.
func list(sep rune, nodes []*yaml.Node) (string, error) {
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		var err error
		if texts[i], err = scalar(n); err != nil {
			return "", err
		}
	}
	if sep == -1 {
		if len(texts) != 1 {
			return "", errNoList
		}
		return texts[0], nil
	}
	return kong.JoinEscaped(texts, sep), nil
}

func mapping(sep rune, nodes []*yaml.Node) (string, error) {
	var pairs []string
	for i := 0; i+1 < len(nodes); i += 2 {
		value, err := scalar(nodes[i+1])
		if err != nil {
			return "", err
		}
		pairs = append(pairs, nodes[i].Value+"="+value)
	}
	return kong.JoinEscaped(pairs, sep), nil
}
