package ctl

import (
	"context"
	"fmt"
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

type restoreFinishCommand struct{}

// Run ends a restore of etcd.
func (restoreFinishCommand) Run(ctx context.Context, e *env) error {
	answer := &registryv1.FinishRestoreResponse{}
	if err := e.rpc(ctx, http.MethodPost, "/v1/registry:finishRestore", nil, &registryv1.FinishRestoreRequest{}, answer); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.stdout, "The store's epoch is %d now.\n", answer.GetEpoch())
	return err
}
