package ctl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
)

// writeTable writes tokens in aligned columns.
func writeTable(w io.Writer, tokens []*authv1.Token, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := []string{"ID\tACCOUNT\tCREATED\tSTATE\tGRANTS\tDESCRIPTION"}
	for _, t := range tokens {
		grants := cmp.Or(strings.Join(t.GetGrants(), " "), "everything")
		rows = append(rows, strings.Join([]string{
			t.GetId(), t.GetAccountId(), moment(t.GetCreateTime(), now), state(t, now), grants, cmp.Or(t.GetDescription(), "-"),
		}, "\t"))
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(table, row); err != nil {
			return err
		}
	}
	return table.Flush()
}

// state says what a token is good for.
func state(t *authv1.Token, now time.Time) string {
	expires := t.GetExpireTime()
	switch {
	case t.GetRevokeTime() != nil:
		return "revoked " + moment(t.GetRevokeTime(), now)
	case expires == nil:
		return "active, does not expire"
	case !now.Before(expires.AsTime()):
		return "expired " + moment(expires, now)
	default:
		return "active, expires " + moment(expires, now)
	}
}

// moment writes a time absolutely and as seen from now.
func moment(ts *timestamppb.Timestamp, now time.Time) string {
	t := ts.AsTime()
	return fmt.Sprintf("%s (%s)", t.UTC().Format("2006-01-02 15:04 UTC"), relative(t.Sub(now)))
}

// relative writes a distance in time in its largest unit.
func relative(d time.Duration) string {
	past := d < 0
	if past {
		d = -d
	}
	if d < time.Second {
		return "now"
	}
	text := approximate(d)
	if past {
		return text + " ago"
	}
	return "in " + text
}

func approximate(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"year", 365 * day}, {"day", day}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		// Rounded at the unit below, so that "720h" reads as 30 days a moment later.
		n := (d + unit.size/60) / unit.size
		switch {
		case n == 1:
			return "1 " + unit.name
		case n > 1:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "1 second"
}

// tokenJSON is a token as scripts read it. Its keys are stable.
type tokenJSON struct {
	ID          string     `json:"id"`
	Account     string     `json:"account"`
	Description string     `json:"description"`
	Grants      []string   `json:"grants"` // empty: everything
	CreateTime  time.Time  `json:"create_time"`
	ExpireTime  *time.Time `json:"expire_time"` // null: never
	RevokeTime  *time.Time `json:"revoke_time"` // null: not revoked
}

// createdJSON is the answer to token create.
type createdJSON struct {
	Token     tokenJSON `json:"token"`
	Authtoken string    `json:"authtoken"`
	APIKey    string    `json:"api_key,omitempty"`
	Server    string    `json:"server"`
	Pins      []string  `json:"pins"`
}

func newToken(t *authv1.Token) tokenJSON {
	return tokenJSON{
		ID: t.GetId(), Account: t.GetAccountId(), Description: t.GetDescription(),
		Grants: append([]string{}, t.GetGrants()...), CreateTime: t.GetCreateTime().AsTime(),
		ExpireTime: timeOrNull(t.GetExpireTime()), RevokeTime: timeOrNull(t.GetRevokeTime()),
	}
}

func newTokens(tokens []*authv1.Token) []tokenJSON {
	list := make([]tokenJSON, len(tokens))
	for i, t := range tokens {
		list[i] = newToken(t)
	}
	return list
}

func newCreated(resp *authv1.CreateTokenResponse) createdJSON {
	return createdJSON{
		Token: newToken(resp.GetToken()), Authtoken: resp.GetAuthtoken(), APIKey: resp.GetApiKey(),
		Server: resp.GetServer(), Pins: append([]string{}, pins(resp)...),
	}
}

func timeOrNull(ts *timestamppb.Timestamp) *time.Time {
	if ts == nil {
		return nil
	}
	t := ts.AsTime()
	return &t
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
