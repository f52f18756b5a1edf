package credentials

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector/internal/session"
)

func TestAJudgementCountsForTenMinutesOfItsLife(t *testing.T) {
	t.Parallel()
	at := time.Now()
	for _, c := range []struct {
		age, validFor time.Duration
		want          bool
	}{
		{0, time.Hour, true},
		{9 * time.Minute, time.Hour, true},
		{10 * time.Minute, time.Hour, false},
		{5 * time.Minute, 4 * time.Minute, false}, // the registry would not believe it
	} {
		j := judgement{at: at, grant: Grant{Assertion: session.Assertion{Expires: at.Add(c.validFor)}}}
		if got := j.counts(at.Add(c.age)); got != c.want {
			t.Errorf("after %v of %v: %v", c.age, c.validFor, got)
		}
	}
}

func TestEachPartOfACredentialCounts(t *testing.T) {
	t.Parallel()
	base := Credential{Authtoken: "a", Agent: "b", Resume: "c", Instance: session.Instance{1}}
	keys := map[[32]byte]string{base.key(): "base"}
	for name, c := range map[string]Credential{
		"token":    {Authtoken: "x", Agent: "b", Resume: "c", Instance: session.Instance{1}},
		"agent":    {Authtoken: "a", Agent: "x", Resume: "c", Instance: session.Instance{1}},
		"resume":   {Authtoken: "a", Agent: "b", Resume: "x", Instance: session.Instance{1}},
		"instance": {Authtoken: "a", Agent: "b", Resume: "c", Instance: session.Instance{2}},
		"shifted":  {Authtoken: "ab", Agent: "", Resume: "c", Instance: session.Instance{1}},
	} {
		if other, taken := keys[c.key()]; taken {
			t.Errorf("%s has the key of %s", name, other)
		}
		keys[c.key()] = name
	}
	moved := base
	moved.Address = "192.0.2.7:1"
	if moved.key() != base.key() {
		t.Error("the address is part of the key: a reconnect never counts")
	}
	if text := fmt.Sprintf("%v %+v", Credential{Authtoken: "hunter2", Resume: "hunter2"}, Credential{Authtoken: "hunter2"}); strings.Contains(text, "hunter2") {
		t.Errorf("printed %s", text)
	}
}

func TestWhatSaysNothingAboutACredential(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err         error
		away, final bool
	}{
		{errs.New(errs.Unavailable, errs.ReasonUnavailable, ""), true, false},
		{errs.New(errs.Internal, errs.ReasonInternal, ""), true, false},
		{errors.New("connection reset"), true, false},
		{errs.New(errs.Unauthenticated, errs.ReasonTokenExpired, ""), false, true},
		{errs.New(errs.ResourceExhausted, errs.ReasonRateLimited, ""), false, false},
	} {
		if away(c.err) != c.away || final(c.err) != c.final {
			t.Errorf("%v: away %v, final %v", c.err, away(c.err), final(c.err))
		}
	}
}
