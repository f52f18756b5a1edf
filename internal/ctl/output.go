package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// outputFlag is the form of what goes to stdout.
type outputFlag struct {
	Output string `env:"-" short:"o" enum:"table,json,yaml" default:"table" help:"table, json or yaml."`
}

var toJSON = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// writeMessage writes a message as JSON or YAML.
func writeMessage(w io.Writer, m proto.Message, form string) error {
	data, err := toJSON.Marshal(m)
	if err != nil {
		return err
	}
	if form == "yaml" {
		var tree yaml.Node // JSON is YAML; a node keeps the order of the fields
		if err := yaml.Unmarshal(data, &tree); err != nil {
			return err
		}
		plain(&tree)
		enc := yaml.NewEncoder(w)
		enc.SetIndent(2)
		if err := enc.Encode(&tree); err != nil {
			return err
		}
		return enc.Close()
	}
	// The library varies its spaces on purpose: what people and scripts see does not.
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, b.String())
	return err
}

// plain takes JSON's brackets and quotes from a tree.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plain(child)
	}
}

// table writes rows whose columns keep their width over several calls, so that
// what a watch adds stands below what was there.
type table struct {
	w      io.Writer
	widths []int
}

func (t *table) write(rows ...[]string) error {
	for _, row := range rows {
		for i, cell := range row {
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		if _, err := fmt.Fprintln(t.w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
