package ctl

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/dialback/dialback/internal/ctlconfig"
	"github.com/dialback/dialback/internal/restclient"
	"github.com/dialback/dialback/internal/secret"
)

// restFlags say which deployment is meant.
type restFlags struct {
	Context string `env:"DIALBACK_CTL_CONTEXT" placeholder:"NAME" help:"Context to use instead of the current one (dialbackctl config)."`
}

// The environment's own way to say it, for programs: both beat the context's.
const (
	serverVariable = "DIALBACK_CTL_SERVER"
	keyVariable    = "DIALBACK_CTL_KEY"
)

// rest returns a client for the context that is meant.
func (e *env) rest() (*restclient.Client, error) {
	if e.client != nil {
		return e.client, nil
	}
	one, err := e.chosen()
	if err != nil {
		return nil, err
	}
	one.Server = cmp.Or(os.Getenv(serverVariable), one.Server)
	one.Key = cmp.Or(secret.String(os.Getenv(keyVariable)), one.Key)
	if one.Server == "" {
		return nil, errors.New("no context says where REST is: start dialbackd as this user, log in with dialbackctl login, " +
			"or set one with dialbackctl config set-context NAME --url URL --key-file FILE")
	}
	e.client, err = restclient.New(restclient.Config{Server: one.Server, Key: one.Key, CAFile: one.CAFile})
	return e.client, err
}

// chosen is the context that is asked for, or the current one; empty if there is
// none.
func (e *env) chosen() (one ctlconfig.Context, err error) {
	path, err := ctlconfig.DefaultPath()
	if err != nil {
		return one, err
	}
	config, err := ctlconfig.Load(path)
	if err != nil {
		return one, err
	}
	name := cmp.Or(e.context, config.Current)
	one, ok := config.Contexts[name]
	if !ok && e.context != "" {
		return one, fmt.Errorf("there is no context %q in %s", name, path)
	}
	return one, nil
}

func escape(id string) string { return url.PathEscape(id) }
