package render

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// SetZone makes time.Local the zone that TZ names, also where that is a rule as POSIX
// has them and not a file of the time zone database, which is all that Go knows. The
// error says that times are in UTC instead. It is called before anything is shown.
func SetZone() error {
	tz := os.Getenv("TZ")
	if tz == "" {
		return nil // /etc/localtime, or UTC
	}
	if _, err := time.LoadLocation(strings.TrimPrefix(tz, ":")); err == nil {
		return nil
	}
	zone, err := posixZone(tz)
	switch {
	case err == nil:
		time.Local = zone
	case time.Local.String() != "UTC": // an absolute path, which Go has read
		return nil
	}
	return err
}

// posixRule is the format of TZ without a file: POSIX.1-2024, Base Definitions,
// section 8.3, with the hours of RFC 9636.
var posixRule = regexp.MustCompile(`^(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)([+-]?)(\d{1,3})(?::(\d{1,2}))?(?::(\d{1,2}))?` + // standard time
	`(?:(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)(?:[+-]?\d{1,3}(?::\d{1,2}){0,2})?` + // summer time
	`(?:,(?:J?\d{1,3}|M\d{1,2}\.\d\.\d)(?:/[+-]?\d{1,3}(?::\d{1,2}){0,2})?){0,2})?$`) // from when to when

// posixZone makes a zone of a rule. Go reads such rules where they stand in a file of
// the time zone database, of what comes after the transitions that the file lists: so
// that is what it gets.
func posixZone(rule string) (*time.Location, error) {
	m := posixRule.FindStringSubmatch(rule)
	if m == nil {
		return nil, fmt.Errorf("TZ=%.60q is neither a time zone of this host nor a rule", rule)
	}
	west := 0 // seconds
	for i, unit := range []int{3600, 60, 1} {
		n, _ := strconv.Atoi(m[2+i]) // an empty one is 0
		west += n * unit
	}
	if m[1] == "-" {
		west = -west
	}
	// RFC 9636, section 3: a header and a block of 32 bits, which is not looked at, then
	// both in 64 bits, then the rule. One type of local time, and a transition to it
	// long ago.
	const name = "-\x00"
	header := func(transitions uint32) []byte {
		b := append([]byte("TZif2"), make([]byte, 15)...)
		for _, n := range []uint32{0, 0, 0, transitions, 1, uint32(len(name))} {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	local := append(binary.BigEndian.AppendUint32(nil, uint32(int32(-west))), 0, 0)
	local = append(local, name...)
	file := append(header(0), local...)
	file = append(file, header(1)...)
	file = binary.BigEndian.AppendUint64(file, 1<<63|uint64(math.MaxInt32)) // before everything that is shown
	file = append(append(file, 0), local...)
	file = append(append(append(file, '\n'), rule...), '\n')
	return time.LoadLocationFromTZData(rule, file)
}
