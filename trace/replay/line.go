// Package replay reads recordings: JSON lines that tracer wrote, of one host or of
// several, in plain files, gzip or zstd.
//
//	line.go    what is read: lines, and the hosts that they are of
//	file.go    files, as they are and as tail -F sees them; what compresses them
//	source.go  one file: bytes → lines → objects, beside whoever reads them
//	merge.go   several files: in the order in which events ended
//	join.go    two hosts' ends of one exchange → one row
//	replay.go  the reader that puts these together
//
// It knows what a line is, and nothing of filters, commands or tables. It needs no
// privileges, and nothing of the host that it runs on. Start with [Open].
package replay

import (
	"time"

	"tracer/trace/event"
)

// A Line is one object of a recording. It is valid until [Reader.Next] or [Reader.Wait] is
// called again; Object and Host may be kept.
type Line struct {
	// Raw is the line without its newline: as it was recorded, but for the key hostname
	// where there are several hosts, and made anew where two rows became one.
	Raw    []byte
	Object event.Object // new for each line; of an event Recorded is the text of Raw
	Host   *Host
	File   string // its name; of a row that two hosts have told the client's

	ended int64 // when it ended: Unix time, ns
}

// Ended is when what the line tells was over: of an exchange the time of its last byte.
// Lines come in this order, as far as each file is in it.
func (l *Line) Ended() time.Time { return time.Unix(0, l.ended).UTC() }

// A Host is a host in one of its boots, as a recording tells it.
type Host struct {
	Name   string // as uname -n, or that of the file
	BootID string // empty if the recording does not tell
	Number int    // from 0 on, in the order in which hosts were met
	// Start is the first one that was recorded there; nil: there is none. It may be
	// set until a line of the host comes.
	Start *event.Start
}

// Stats say what was read so far.
type Stats struct {
	Lines    uint64            // that could be read, of any kind
	Unread   map[string]uint64 // lines that could not, by why: see UnreadCut
	Problems []string          // what else could not be read, as sentences
	Joined   uint64            // exchanges of which two hosts' rows became one
}

// endOf is when what an object tells was over, in Unix time: what is told in that order
// was recorded in that order. It is before if the object does not tell.
func endOf(o event.Object, before int64) int64 {
	var at time.Time
	var more time.Duration
	switch o := o.(type) {
	case *event.HTTP:
		at, more = o.Time, max(o.Duration, o.Age)
	case event.Event:
		at = o.Head().Time
	case *event.Start:
		at = o.Time
	case *event.Account:
		at = o.Time
	case *event.Notice:
		at = o.Time
	}
	if at.IsZero() {
		return before
	}
	return at.UnixNano() + int64(more)
}
