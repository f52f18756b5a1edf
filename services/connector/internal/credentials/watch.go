package credentials

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// watchRetry is short: while the watch is down a revocation waits.
	watchRetry  = 500 * time.Millisecond
	keysTimeout = 5 * time.Second
	keysRefresh = 10 * time.Minute
	keysRetry   = time.Second
)

var errCompacted = errs.New(errs.NotFound, errs.ReasonCompacted, "")

// Run keeps sessions in good standing until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.renew(ctx) })
	g.Go(func() error { return k.watch(ctx) })
	g.Go(func() error { return k.keys(ctx) })
	return g.Wait()
}

// watch ends the sessions of revoked tokens and suspended accounts. Whenever the watch stands (again)
// all sessions are judged anew: what was revoked before is not repeated.
func (k *Keeper) watch(ctx context.Context) error {
	var revision int64
	for {
		err := k.follow(ctx, &revision)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errCompacted) {
			revision = 0
		}
		k.log.WarnContext(ctx, "the watch of revocations broke off", "revision", revision, "error", err)
		if !lifecycle.Pause(ctx, watchRetry) {
			return nil
		}
	}
}

// follow handles one stream; revision is how far it came.
func (k *Keeper) follow(ctx context.Context, revision *int64) error {
	stream, err := k.auth.WatchRevocations(ctx, &authv1.WatchRevocationsRequest{Revision: *revision})
	if err != nil {
		return err
	}
	for standing := false; ; standing = true {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if !standing {
			k.table.ResumeAll()
		}
		k.handle(ctx, msg)
		*revision = msg.GetRevision()
		if !standing {
			k.renewAll()
		}
	}
}

// handle ends the sessions of what has ended, and has those judged anew that live
// by what has changed.
func (k *Keeper) handle(ctx context.Context, msg *authv1.WatchRevocationsResponse) {
	for _, token := range msg.GetTokenIds() {
		k.revoke(ctx, token)
	}
	for _, account := range msg.GetEndedAccountIds() {
		sessions := k.table.Suspend(account)
		k.log.InfoContext(ctx, "an account was suspended or deleted", "account", account, "sessions", sessions)
	}
	tokens, accounts := msg.GetChangedTokenIds(), msg.GetChangedAccountIds()
	for _, account := range accounts {
		k.table.Resume(account)
	}
	if len(tokens)+len(accounts) > 0 {
		k.judgeAgain(ctx, func(who session.Identity) bool {
			return slices.Contains(tokens, who.Token) || slices.Contains(accounts, who.Account)
		})
	}
}

func (k *Keeper) revoke(ctx context.Context, token string) {
	sessions := k.table.Revoke(token)
	k.log.InfoContext(ctx, "a token was revoked or has expired", "token", token, "sessions", len(sessions))
}

// keys fetches the key of trace MACs, again from time to time: keys rotate.
func (k *Keeper) keys(ctx context.Context) error {
	for {
		wait := keysRefresh
		if err := k.fetchKeys(ctx); err != nil {
			wait = keysRetry
			if ctx.Err() == nil {
				k.log.WarnContext(ctx, "the trace key could not be fetched", "error", err)
			}
		}
		if !lifecycle.Pause(ctx, wait) {
			return nil
		}
	}
}

func (k *Keeper) fetchKeys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	resp, err := k.auth.GetKeys(ctx, &authv1.GetKeysRequest{})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.traceKey = resp.GetTraceMacKey()
	return nil
}
