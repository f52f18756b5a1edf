// Package version says which build this is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is the release, set when linking:
//
//	go build -ldflags "-X github.com/dialback/dialback/internal/version.Version=v1.2.3"
//
// Left at "dev", a binary of `go install` reports the version of its module.
var Version = "dev"

// String returns version, commit where the toolchain recorded one, Go version and platform on one line.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return describe(Version, info)
}

func describe(version string, info *debug.BuildInfo) string {
	if module := info.Main.Version; version == "dev" && module != "" && module != "(devel)" {
		version = module
	}
	build := fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if commit := commit(info); commit != "" {
		build = "commit " + commit + ", " + build
	}
	return version + " (" + build + ")"
}

// commit returns the short hash of the build's commit, "-dirty" behind it when files differed; "" if unknown.
func commit(info *debug.BuildInfo) string {
	var revision, suffix string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			if s.Value == "true" {
				suffix = "-dirty"
			}
		}
	}
	if revision == "" {
		return ""
	}
	return revision + suffix
}
