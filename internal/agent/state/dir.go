package state

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// DefaultDir returns where agents keep their state when nobody says otherwise,
// for instance ~/.local/state/dialback. State is no configuration: it is written
// at every start, and a copy of it on another machine is a rival.
func DefaultDir() (string, error) {
	if runtime.GOOS == "windows" {
		if dir := os.Getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, "dialback", "state"), nil
		}
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "dialback"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of state files: %w", err)
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "dialback", "state"), nil
	}
	return filepath.Join(home, ".local", "state", "dialback"), nil
}

// serverDir returns the folder for a server's slots. Its address, "host:port",
// has a colon, which some file systems do not take.
func serverDir(dir, server string) string {
	return filepath.Join(dir, strings.NewReplacer(":", "_", "[", "", "]", "").Replace(server))
}
