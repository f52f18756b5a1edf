package ctl

import (
	"context"
	"net/http"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
)

type drainCommand struct {
	outputFlag
	Node  string `arg:"" help:"Id of a connector or frontdoor (dialbackctl get nodes)."`
	Force bool   `env:"-" help:"Even while another connector drains."`
}

// Run has a node let everybody go elsewhere, and end.
func (c *drainCommand) Run(ctx context.Context, e *env) error {
	k, err := findKind("nodes")
	if err != nil {
		return err
	}
	node := &registryv1.Node{}
	body := &registryv1.DrainNodeRequest{Id: c.Node, Force: c.Force}
	if err := e.rpc(ctx, http.MethodPost, k.path(c.Node)+":drain", nil, body, node); err != nil {
		return err
	}
	return e.writeOne(k, node, c.Output)
}
