package telemetry_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/telemetry"
)

func TestLinesNameTheTrace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	log = log.With("part", "test")
	log.DebugContext(remote(t), "hidden")
	log.InfoContext(remote(t), "traced", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if line["trace_id"] != parent[3:35] || line["span_id"] != parent[36:52] || line["part"] != "test" {
		t.Errorf("line: %v", line)
	}
	out.Reset()
	log.InfoContext(t.Context(), "untraced")
	if strings.Contains(out.String(), "trace_id") {
		t.Errorf("a line without a trace: %s", out.String())
	}
}

func TestLoggerRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ format, level, want string }{
		{"xml", "info", "text or json"},
		{"", "info", "text or json"},
		{"json", "loud", "debug, info, warn or error"},
		{"json", "", "debug, info, warn or error"},
	} {
		_, err := telemetry.NewLogger(&bytes.Buffer{}, c.format, c.level)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("NewLogger(%q, %q): %v", c.format, c.level, err)
		}
	}
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "text", "WARN")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hidden")
	log.Warn("seen")
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "msg=seen") {
		t.Errorf("out: %s", got)
	}
}
