package ctl

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
)

func TestRelative(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                          "now",
		-time.Millisecond:          "now",
		time.Second:                "in 1 second",
		-2 * time.Second:           "2 seconds ago",
		-time.Minute:               "1 minute ago",
		-90 * time.Minute:          "1 hour ago",
		23 * time.Hour:             "in 23 hours",
		30*day - time.Second:       "in 30 days",
		30 * day:                   "in 30 days",
		-364 * day:                 "1 year ago",
		3*365*day + 20*time.Minute: "in 3 years",
	} {
		if got := relative(d); got != want {
			t.Errorf("relative(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 21, 38, 0, 0, time.UTC)
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d)) }
	tokens := []*authv1.Token{
		{Id: "00000000000000a1", AccountId: "default", CreateTime: at(-72 * time.Hour)},
		{Id: "00000000000000a2", AccountId: "a-longer-account", CreateTime: at(-2 * time.Hour), ExpireTime: at(720 * time.Hour),
			Grants: []string{"bind:*.dev.example.com", "bind:tcp:20000-20100"}, Description: "Jürgens Rechner"},
		{Id: "00000000000000a3", AccountId: "default", CreateTime: at(-time.Hour), ExpireTime: at(-time.Minute)},
		{Id: "00000000000000a4", AccountId: "default", CreateTime: at(-time.Hour), ExpireTime: at(time.Hour), RevokeTime: at(-time.Second)},
	}
	var out strings.Builder
	if err := writeTable(&out, tokens, now); err != nil {
		t.Fatal(err)
	}
	want := `ID                ACCOUNT           CREATED                             STATE                                              GRANTS                                       DESCRIPTION
00000000000000a1  default           2026-11-19 21:38 UTC (3 days ago)   active, does not expire                            everything                                   -
00000000000000a2  a-longer-account  2026-11-22 19:38 UTC (2 hours ago)  active, expires 2026-12-22 21:38 UTC (in 30 days)  bind:*.dev.example.com bind:tcp:20000-20100  Jürgens Rechner
00000000000000a3  default           2026-11-22 20:38 UTC (1 hour ago)   expired 2026-11-22 21:37 UTC (1 minute ago)        everything                                   -
00000000000000a4  default           2026-11-22 20:38 UTC (1 hour ago)   revoked 2026-11-22 21:37 UTC (1 second ago)        everything                                   -
`
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
