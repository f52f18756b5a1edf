package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestACollectorThatIsAwayCostsOneLineAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := newErrorHandler(slog.New(slog.NewTextHandler(&out, nil)))
		away := errors.New("collector is away")
		for range 59 {
			h.Handle(away)
			<-time.After(time.Second)
		}
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%d lines in the first minute", n)
		}
		<-time.After(time.Second)
		h.Handle(away)
		if !strings.Contains(out.String(), "suppressed=58") {
			t.Errorf("the second line does not count:\n%s", out.String())
		}
	})
}
