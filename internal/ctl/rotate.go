package ctl

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
)

type rotateCommand struct {
	outputFlag
	ID      string        `arg:"" help:"Id of a token."`
	Overlap time.Duration `env:"-" placeholder:"DURATION" help:"How long the old secret is good for; none: it ends now."`
}

// Run gives a token a new secret.
func (c *rotateCommand) Run(ctx context.Context, e *env) error {
	if c.Overlap < 0 {
		return fmt.Errorf("--overlap %v: give a time that is still to come", c.Overlap)
	}
	k, err := findKind("tokens")
	if err != nil {
		return err
	}
	answer := &authv1.RotateTokenResponse{}
	body := &authv1.RotateTokenRequest{Id: c.ID, Overlap: durationpb.New(c.Overlap)}
	if err := e.rpc(ctx, http.MethodPost, k.path(c.ID)+":rotate", nil, body, answer); err != nil {
		return err
	}
	e.secrets(answer)
	return e.writeOne(k, answer, c.Output)
}
