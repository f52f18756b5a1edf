package state

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lock takes the file for the life of this process, or says that another one
// has it. The system lets go of it when the process ends, however it ends.
func lock(f *os.File) (taken bool, err error) {
	const exclusive = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err = windows.LockFileEx(windows.Handle(f.Fd()), exclusive, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
