package ctl

import (
	"context"
	"net/url"
	"strings"
	"time"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/restclient"
)

type eventsCommand struct {
	outputFlag
	Follow  bool   `env:"-" short:"f" help:"Go on with what happens."`
	Kind    string `env:"-" help:"Only account, token, reservation, tunnel, session or node events."`
	Account string `env:"-" help:"Only this account's."`
	After   string `env:"-" default:"0" placeholder:"POSITION" help:"Only later ones; 0: all that is kept."`
}

// quietFor is how long nothing has to come for the past to be over: a step without
// events says that the watch stands, and comes behind it.
const quietFor = time.Second

// Run prints what has been done, by whom.
func (c *eventsCommand) Run(ctx context.Context, e *env) error {
	query := url.Values{"after": {c.After}}
	for name, value := range map[string]string{"kind": c.Kind, "account_id": c.Account} {
		if value != "" {
			query.Set(name, value)
		}
	}
	t := table{w: e.stdout, widths: []int{20, 10, 11, 24, 10}}
	return e.events(ctx, query, c.Follow, func(event *auditv1.Event) error { return c.write(e, &t, event) })
}

// events hands over what was done, and with follow what is done from now on.
func (e *env) events(ctx context.Context, query url.Values, follow bool, each func(*auditv1.Event) error) error {
	client, err := e.rest()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	quiet := time.AfterFunc(callTimeout, stop)
	defer quiet.Stop()
	return ignoreEnd(ctx, client.Lines(ctx, "/v1/events", query, func(line []byte) error {
		if follow {
			quiet.Stop()
		} else {
			quiet.Reset(quietFor)
		}
		step := &frontdoorv1.WatchEventsResponse{}
		if err := restclient.Unmarshal(line, step); err != nil {
			return err
		}
		for _, event := range step.GetEvents() {
			if err := each(event); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (c *eventsCommand) write(e *env, t *table, event *auditv1.Event) error {
	if c.Output != "table" {
		return writeMessage(e.stdout, event, c.Output)
	}
	m := event.ProtoReflect()
	row := []string{event.GetTime().AsTime().UTC().Format(time.RFC3339)}
	for _, field := range []string{"action", "kind", "name", "account_id", "actor", "address"} {
		row = append(row, value(m, field, e.now()))
	}
	return t.write(append(row, strings.TrimSuffix(event.GetReason()+" "+event.GetNodeId(), " ")))
}
