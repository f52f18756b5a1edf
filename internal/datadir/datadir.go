// Package datadir names the places that dialbackd and the commands beside it
// share on one machine.
package datadir

import (
	"os"
	"path/filepath"
)

// Default returns where dialbackd keeps its data unless told otherwise:
// $DIALBACK_DATA, else dialback below $XDG_DATA_HOME or ~/.local/share.
func Default() string {
	if dir := os.Getenv("DIALBACK_DATA"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "dialback")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "dialback-data"
	}
	return filepath.Join(home, ".local", "share", "dialback")
}

// Admin returns where a data directory holds the administrator's credentials:
// AdminCert, AdminKey and AdminCA.
func Admin(data string) string { return filepath.Join(data, "admin") }

// The files of an administrator's credentials, PEM.
const (
	AdminCert = "admin.crt"
	AdminKey  = "admin.key"
	AdminCA   = "ca.crt"
)
