package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/restclient"
)

type restoreFinishCommand struct {
	Audit string `env:"-" type:"existingfile" placeholder:"FILE" help:"What dialbackctl events -o json printed before: what has ended since the backup ends again."`
}

// Run ends a restore of etcd. What may not come in again is shut out first.
func (c *restoreFinishCommand) Run(ctx context.Context, e *env) error {
	if c.Audit != "" {
		forgotten, err := c.forgotten(ctx, e)
		if err != nil {
			return err
		}
		for _, event := range forgotten {
			if err := e.repeatEnd(ctx, event); err != nil {
				return fmt.Errorf("%s %s: %w", event.GetKind(), event.GetName(), err)
			}
		}
	}
	answer := &registryv1.FinishRestoreResponse{}
	if err := e.rpc(ctx, http.MethodPost, "/v1/registry:finishRestore", nil, &registryv1.FinishRestoreRequest{}, answer); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.stdout, "The store's epoch is %d now.\n", answer.GetEpoch())
	return err
}

// forgotten returns what the audit tells of accounts and tokens and the restored
// store does not know, in its order. A restored record keeps its revision, and the
// bump of the restore keeps new ones far above it.
func (c *restoreFinishCommand) forgotten(ctx context.Context, e *env) ([]*auditv1.Event, error) {
	past, err := readEvents(c.Audit)
	if err != nil {
		return nil, err
	}
	known := map[int64]bool{}
	for _, event := range past {
		known[event.GetRevision()] = true
	}
	backup := int64(0) // the last revision that both know
	for _, kind := range []string{"account", "token"} {
		err := e.events(ctx, url.Values{"after": {"0"}, "kind": {kind}}, false, func(event *auditv1.Event) error {
			if known[event.GetRevision()] {
				backup = max(backup, event.GetRevision())
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if backup == 0 && len(past) > 0 {
		return nil, fmt.Errorf("%s is the audit of another store: nothing of it is in this one's", c.Audit)
	}
	var list []*auditv1.Event
	for _, event := range past {
		if event.GetRevision() > backup {
			list = append(list, event)
		}
	}
	return list, nil
}

// readEvents reads the events of accounts and tokens.
func readEvents(path string) ([]*auditv1.Event, error) {
	file, err := os.Open(path) // #nosec G304 -- the administrator's own choice
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	var list []*auditv1.Event
	for in := json.NewDecoder(file); ; {
		var raw json.RawMessage
		err := in.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		event := &auditv1.Event{}
		if err == nil {
			err = restclient.Unmarshal(raw, event)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not what dialbackctl events -o json prints: %w", path, err)
		}
		if kind := event.GetKind(); kind == "account" || kind == "token" {
			list = append(list, event)
		}
	}
}

// repeatEnd ends once more what has ended, and says what it cannot repeat.
func (e *env) repeatEnd(ctx context.Context, event *auditv1.Event) error {
	path := "/v1/" + event.GetKind() + "s/" + escape(event.GetName())
	disabled, account := event.GetDetails()["disabled"], event.GetKind() == "account"
	var call error
	switch action := event.GetAction(); {
	case action == auditv1.Action_ACTION_EXPIRED:
		return nil // it does that by itself
	case action == auditv1.Action_ACTION_REVOKED:
		call = e.rpc(ctx, http.MethodPost, path+":revoke", nil, &authv1.RevokeTokenRequest{}, nil)
	case action == auditv1.Action_ACTION_DELETED && account:
		call = e.rpc(ctx, http.MethodDelete, path, url.Values{"force": {"true"}}, nil, nil)
	case action == auditv1.Action_ACTION_DELETED:
		call = e.rpc(ctx, http.MethodDelete, path, nil, nil, nil)
	case account && disabled != "":
		call = e.rpc(ctx, http.MethodPatch, path, url.Values{"update_mask": {"disabled"}}, &authv1.Account{Disabled: disabled == "true"}, nil)
	default:
		e.note("Not repeated: %s.", told(event))
		return nil
	}
	if failed, ok := errs.From(call); ok && failed.Kind() == errs.NotFound {
		return nil // it came after the backup, and is unknown
	}
	if call == nil {
		e.note("Repeated: %s.", told(event))
	}
	return call
}

// told is an event in words.
func told(event *auditv1.Event) string {
	action := enumName(event.GetAction().Descriptor(), event.GetAction().Number())
	text := fmt.Sprintf("%s %s was %s by %s", event.GetKind(), event.GetName(), action, event.GetActor())
	switch changed := event.GetDetails()["changed"]; {
	case changed == "secret":
		return text + ": its secret from before is good again; rotate it once more"
	case changed != "":
		return text + " (" + changed + ")"
	case event.GetAction() == auditv1.Action_ACTION_CREATED:
		return text + ", and is unknown now; make another"
	}
	return text
}
