package ctl

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/restclient"
)

// pageSize is how many resources one call lists.
const pageSize = 500

type getCommand struct {
	outputFlag
	Kind   string   `arg:"" help:"${kinds}."`
	IDs    []string `arg:"" name:"id" optional:"" help:"Which ones; none: all."`
	Filter string   `env:"-" placeholder:"EXPR" help:"Only these: field=value, several joined by ' AND '."`
	Watch  bool     `env:"-" short:"w" help:"Go on with what changes."`
}

// Run shows resources.
func (c *getCommand) Run(ctx context.Context, e *env) error {
	k, err := findKind(c.Kind)
	if err != nil {
		return err
	}
	client, err := e.rest()
	if err != nil {
		return err
	}
	s := &show{command: c, env: e, kind: k, client: client, table: table{w: e.stdout}}
	if c.Watch {
		return s.watch(ctx)
	}
	return s.all(ctx)
}

// show writes resources of one kind.
type show struct {
	command *getCommand
	env     *env
	kind    kind
	client  *restclient.Client
	table   table
	header  bool // it has been written
}

// all writes what is there now.
func (s *show) all(ctx context.Context) error {
	if len(s.command.IDs) == 0 {
		page, err := s.list(ctx)
		if err != nil {
			return err
		}
		return s.page(page)
	}
	for _, id := range s.command.IDs {
		one, err := s.get(ctx, id)
		if err != nil {
			return err
		}
		if err := s.one(one); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) get(ctx context.Context, id string) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	one := fresh(s.kind.item)
	return one, s.client.Call(ctx, restclient.Request{Method: http.MethodGet, Path: s.kind.path(id)}, nil, one)
}

// list returns all pages as one.
func (s *show) list(ctx context.Context) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	all := fresh(s.kind.page)
	token := all.ProtoReflect().Descriptor().Fields().ByName("next_page_token")
	for page := ""; ; {
		query := url.Values{"page_size": {strconv.Itoa(pageSize)}}
		if page != "" {
			query.Set("page_token", page)
		}
		if filter := s.kind.filterWith(s.command.Filter); filter != "" {
			query.Set("filter", filter)
		}
		next := fresh(s.kind.page)
		if err := s.client.Call(ctx, restclient.Request{Method: http.MethodGet, Path: s.kind.path(""), Query: query}, nil, next); err != nil {
			return nil, err
		}
		all.ProtoReflect().Clear(token)
		proto.Merge(all, next)
		if page = next.ProtoReflect().Get(token).String(); page == "" {
			return all, nil
		}
	}
}

func (s *show) page(page proto.Message) error {
	if missing, ok := page.(interface{ GetMissingNodes() []string }); ok {
		for _, node := range missing.GetMissingNodes() {
			s.env.note("%s has not answered: what it holds is not in the list", node)
		}
	}
	if s.command.Output != "table" {
		return writeMessage(s.env.stdout, page, s.command.Output)
	}
	list := page.ProtoReflect().Get(listField(page)).List()
	if list.Len() == 0 {
		s.env.note("There are no %s.", s.kind.name)
		return nil
	}
	rows := s.titles()
	for i := range list.Len() {
		rows = append(rows, s.row(list.Get(i).Message()))
	}
	return s.table.write(rows...)
}

func (s *show) one(m proto.Message) error {
	if s.command.Output != "table" {
		return writeMessage(s.env.stdout, m, s.command.Output)
	}
	return s.table.write(append(s.titles(), s.row(m.ProtoReflect()))...)
}

// titles are the first row, once.
func (s *show) titles() [][]string {
	if s.header {
		return nil
	}
	s.header = true
	var row []string
	for _, c := range s.kind.columns {
		row = append(row, c.title)
	}
	return [][]string{row}
}

func (s *show) row(m protoreflect.Message) []string {
	row := make([]string, len(s.kind.columns))
	for i, c := range s.kind.columns {
		row[i] = value(m, c.path, s.env.now())
	}
	return row
}

// watch writes what is there, then what has changed. The events are asked for
// first: what happens between the two is in one of them.
func (s *show) watch(ctx context.Context) error {
	if s.kind.events == "" {
		return errors.New(s.kind.name + " have no events of their own; watch tunnels instead")
	}
	began := false
	return ignoreEnd(ctx, s.client.Lines(ctx, "/v1/events", url.Values{"kind": {s.kind.events}}, func(line []byte) error {
		step := &frontdoorv1.WatchEventsResponse{}
		if err := restclient.Unmarshal(line, step); err != nil {
			return err
		}
		if !began {
			began = true
			return s.all(ctx)
		}
		return s.changed(ctx, step)
	}))
}

func (s *show) changed(ctx context.Context, step *frontdoorv1.WatchEventsResponse) error {
	for _, event := range step.GetEvents() {
		if len(s.command.IDs) > 0 && !contains(s.command.IDs, event.GetName()) {
			continue
		}
		one, err := s.get(ctx, event.GetName())
		if e, ours := errs.From(err); ours && e.Kind() == errs.NotFound {
			s.env.note("%s %s is gone", s.kind.singular, event.GetName())
			continue
		}
		if err != nil {
			return err
		}
		if err := s.one(one); err != nil {
			return err
		}
	}
	return nil
}
