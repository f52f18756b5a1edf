package ctl

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dialback/dialback/internal/restclient"
)

type createCommand struct {
	outputFlag
	Kind string `arg:"" help:"${kinds}."`
	inputFlags
}

// Run makes a resource. A repeat with the same id and content is no error.
func (c *createCommand) Run(ctx context.Context, e *env) error {
	k, err := findKind(c.Kind)
	if err != nil {
		return err
	}
	if k.create == nil {
		return fmt.Errorf("%s are not created here", k.name)
	}
	body, answer := fresh(k.create), fresh(k.created)
	if _, err := c.fill(body); err != nil {
		return err
	}
	if err := e.rpc(ctx, http.MethodPost, k.path(""), nil, body, answer); err != nil {
		return err
	}
	e.secrets(answer)
	return e.writeOne(k, answer, c.Output)
}

// secrets are shown once, apart from the resource.
func (e *env) secrets(answer proto.Message) {
	m := answer.ProtoReflect()
	for _, name := range []protoreflect.Name{"authtoken", "api_key"} {
		if f := m.Descriptor().Fields().ByName(name); f != nil && m.Get(f).String() != "" {
			e.note("%s, shown this once: %s", name, m.Get(f).String())
		}
	}
}

// writeOne writes a resource, or the answer that holds one.
func (e *env) writeOne(k kind, answer proto.Message, form string) error {
	if form != "table" {
		return writeMessage(e.stdout, answer, form)
	}
	m := answer.ProtoReflect()
	if m.Descriptor().FullName() != k.item.ProtoReflect().Descriptor().FullName() {
		f := m.Descriptor().Fields().ByName(protoreflect.Name(k.singular))
		m = m.Get(f).Message()
	}
	s := &show{env: e, kind: k, table: table{w: e.stdout}}
	return s.table.write(append(s.titles(), s.row(m))...)
}

type updateCommand struct {
	outputFlag
	Kind string `arg:"" help:"${kinds}."`
	ID   string `arg:"" help:"Which one."`
	ETag string `name:"etag" env:"-" help:"Only if it is still as this etag says."`
	inputFlags
}

// Run changes what is given, and nothing else.
func (c *updateCommand) Run(ctx context.Context, e *env) error {
	k, err := findKind(c.Kind)
	if err != nil {
		return err
	}
	if !k.updatable {
		return fmt.Errorf("%s cannot be updated", k.name)
	}
	body := fresh(k.item)
	paths, err := c.fill(body)
	if err != nil {
		return err
	}
	paths = slices.DeleteFunc(paths, func(p string) bool { return p == "id" || p == "etag" })
	if len(paths) == 0 {
		return fmt.Errorf("say what to change: field=value")
	}
	slices.Sort(paths)
	if c.ETag != "" {
		m := body.ProtoReflect()
		m.Set(m.Descriptor().Fields().ByName("etag"), protoreflect.ValueOfString(c.ETag))
	}
	answer := fresh(k.item)
	mask := url.Values{"update_mask": {strings.Join(paths, ",")}}
	if err := e.rpc(ctx, http.MethodPatch, k.path(c.ID), mask, body, answer); err != nil {
		return err
	}
	return e.writeOne(k, answer, c.Output)
}

type deleteCommand struct {
	Kind  string   `arg:"" help:"${kinds}."`
	IDs   []string `arg:"" name:"id" help:"Which ones."`
	Force bool     `env:"-" help:"Also what is in use; the server says where that matters."`
}

// Run deletes resources; ending a session or a tunnel is deleting it.
func (c *deleteCommand) Run(ctx context.Context, e *env) error {
	k, err := findKind(c.Kind)
	if err != nil {
		return err
	}
	if !k.deletable {
		return fmt.Errorf("%s cannot be deleted", k.name)
	}
	query := url.Values{}
	if c.Force {
		query.Set("force", "true")
	}
	for _, id := range c.IDs {
		if err := e.rpc(ctx, http.MethodDelete, k.path(id), query, nil, nil); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(e.stdout, "%s %s is gone\n", k.singular, id); err != nil {
			return err
		}
	}
	return nil
}

// rpc makes one call of REST.
func (e *env) rpc(ctx context.Context, method, path string, query url.Values, body, answer proto.Message) error {
	client, err := e.rest()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.Call(ctx, restclient.Request{Method: method, Path: path, Query: query}, body, answer)
}

type kindsCommand struct {
	Kind string `arg:"" optional:"" help:"Show the fields of this one."`
}

// Run prints what there is, or the fields of one kind.
func (c *kindsCommand) Run(e *env) error {
	t := table{w: e.stdout}
	if c.Kind == "" {
		rows := [][]string{{"KIND", "CREATE", "UPDATE", "DELETE", "WATCH"}}
		for _, name := range kindNames() {
			k, err := findKind(name)
			if err != nil {
				return err
			}
			rows = append(rows, []string{k.name, yes(k.create != nil), yes(k.updatable), yes(k.deletable), yes(k.events != "")})
		}
		return t.write(rows...)
	}
	k, err := findKind(c.Kind)
	if err != nil {
		return err
	}
	rows := [][]string{{"FIELD", "TYPE", "CREATE"}}
	settable := func(string) bool { return false }
	if k.create != nil {
		names := fieldNames(k.create.ProtoReflect().Descriptor())
		settable = func(name string) bool { return contains(names, name) }
	}
	for _, m := range []proto.Message{k.item, k.create} {
		if m == nil || len(rows) > 1 && m.ProtoReflect().Descriptor() == k.item.ProtoReflect().Descriptor() {
			continue
		}
		rows = appendFields(rows, m.ProtoReflect().Descriptor(), settable)
	}
	return t.write(rows...)
}

// appendFields adds fields that are not there yet.
func appendFields(rows [][]string, m protoreflect.MessageDescriptor, settable func(string) bool) [][]string {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := string(f.Name())
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == name }) {
			rows = append(rows, []string{name, typeName(f), yes(settable(name))})
		}
	}
	return rows
}

func typeName(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	switch {
	case f.Enum() != nil:
		var values []string
		for i := range f.Enum().Values().Len() {
			if n := f.Enum().Values().Get(i).Number(); n != 0 {
				values = append(values, enumName(f.Enum(), n))
			}
		}
		name = strings.Join(values, "|")
	case f.Message() != nil:
		name = strings.ToLower(string(f.Message().Name()))
	}
	if f.IsList() {
		return "list of " + name
	}
	return name
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "-"
}
