package directory

import (
	"context"
	"time"
)

// SessionEnd is the end of a session that somebody wanted.
type SessionEnd struct {
	Session, Account, Agent string
	Reason                  CloseReason
	By                      Source
}

// NoteEnd writes down who has ended a session.
func (d *Directory) NoteEnd(ctx context.Context, end SessionEnd) error {
	_, err := d.store.Commit(ctx, Plan{Events: []Event{{
		Time: time.Now(), Action: EndedWith, Kind: KindSession, Name: end.Session, Account: end.Account,
		Reason: end.Reason.String(), Source: end.By, Details: map[string]string{"agent": end.Agent},
	}}})
	return err
}
