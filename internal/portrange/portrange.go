// Package portrange is a range of TCP ports, as operators write it.
package portrange

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// EphemeralFile is where Linux says from which ports it takes those of outgoing
// connections.
const EphemeralFile = "/proc/sys/net/ipv4/ip_local_port_range"

// Range is a range of ports, both ends included; the zero value is empty.
type Range struct {
	First, Last uint16
}

// Parse reads "20000-20999", or one port.
func Parse(s string) (Range, error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || first == 0 || last < first {
		return Range{}, fmt.Errorf("%q is no range of ports; write one like 20000-20999", s)
	}
	return Range{uint16(first), uint16(last)}, nil
}

// UnmarshalText is Parse, for flags and files; empty is the empty range.
func (r *Range) UnmarshalText(text []byte) (err error) {
	*r = Range{}
	if len(text) > 0 {
		*r, err = Parse(string(text))
	}
	return err
}

// String writes the range as Parse reads it; the empty one is "".
func (r Range) String() string {
	if r == (Range{}) {
		return ""
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Contains reports whether a port is in the range.
func (r Range) Contains(port uint16) bool { return port != 0 && r.First <= port && port <= r.Last }

// CheckEphemeral refuses a range that overlaps with the ports of outgoing
// connections: any of them may be taken at any time, on one machine and not on
// the next. file is EphemeralFile; where there is none there is nothing to check.
func (r Range) CheckEphemeral(file string) error {
	text, err := os.ReadFile(file)
	if r == (Range{}) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var first, last uint16
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if r.First <= last && first <= r.Last {
		return fmt.Errorf("the ports %s overlap with those that this machine takes for outgoing connections (%d-%d, %s); choose others, or narrow those", r, first, last, file)
	}
	return nil
}
