package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc, the same on every Linux.
const clockTick = time.Second / 100

// Usage is what a process has used.
type Usage struct {
	CPU      time.Duration // of all its threads, since its start
	Resident int64         // bytes of memory, now
}

// Usage reads what the process has used until now.
func (p *Process) Usage() (Usage, error) { return usageOf(strconv.Itoa(p.pid)) }

// Own is what this process has used.
func Own() (Usage, error) { return usageOf("self") }

func usageOf(pid string) (u Usage, err error) {
	raw, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return u, err
	}
	// The name, in parentheses, may have spaces; 11 fields on are the times.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 22 {
		return u, fmt.Errorf("/proc/%s/stat has %d fields behind the name", pid, len(fields))
	}
	for _, field := range fields[11:13] { // utime, stime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * clockTick
	}
	pages, err := strconv.ParseInt(fields[21], 10, 64)
	u.Resident = pages * int64(os.Getpagesize())
	return u, err
}
