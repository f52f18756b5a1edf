package version

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	toolchain := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}

	tests := []struct {
		name    string
		version string
		info    debug.BuildInfo
		want    string
	}{
		{"nothing known", "dev", debug.BuildInfo{}, "dev (" + toolchain + ")"},
		{"linked", "v1.2.3", debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-x"}}, "v1.2.3 (" + toolchain + ")"},
		{"go install", "dev", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3 (" + toolchain + ")"},
		{"work tree", "dev", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "dev (" + toolchain + ")"},
		{"commit", "dev", debug.BuildInfo{Settings: []debug.BuildSetting{revision}}, "dev (commit 0123456789ab, " + toolchain + ")"},
		{"changed commit", "dev", debug.BuildInfo{Settings: []debug.BuildSetting{modified, revision}}, "dev (commit 0123456789ab-dirty, " + toolchain + ")"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := describe(tt.version, &tt.info); got != tt.want {
				t.Errorf("describe() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStringNamesTheLinkedVersion(t *testing.T) {
	t.Parallel()
	if got := String(); !strings.HasPrefix(got, Version) {
		t.Errorf("String() = %q, want it to begin with %q", got, Version)
	}
}
