// Package account is the one ledger of a session: what became of the events that
// happened while it traced.
//
//	seen = shown + filtered + lost
//
// holds at any time, because seen is nothing else than that sum: whoever takes an
// event out of the stream says here what became of it. It does not know what an
// event is, nor who shows it.
//
// An event is what a row would be, and its units are those of rows: a shown or
// filtered exchange is one, also where it is summed up; a lost one is one for each end
// that is here. Where the exact number cannot be known it is an upper bound; README says
// where it cannot be. What programs in the kernel left out is no part of the sum.
package account

import (
	"maps"
	"slices"
	"strings"
	"time"

	"tracer/trace/event"
)

// Causes of loss that user space knows: keys of "lost_by". The programs' own are in
// package kernel.
const (
	BadRecord     = "bad_record"     // a record that could not be decoded
	OutputFull    = "output_full"    // the reader of stdout was too slow
	PlaceUnknown  = "place_unknown"  // whether its container or pod is wanted was not known in time
	ReadingFailed = "reading_failed" // counters could not be read; a later reading tells what they tell
	Unlinked      = "unlinked"       // of plaintext of TLS it is not certain which connection it belongs to
	Unpaired      = "unpaired"       // a request of which it is not certain which answer is its own
	MapFull       = "map_full"       // too many things at once
	ProgramMissed = "program_missed" // the kernel did not run a program
)

// A Ledger counts. The zero value is not ready: use [New]. It is not safe for
// concurrent use.
type Ledger struct {
	shown       uint64
	filtered    map[string]uint64 // by flag
	lost        map[string]uint64 // by cause, as counted here
	inKernel    map[string]uint64 // by cause, as the programs have counted
	leftOut     map[string]uint64 // by flag, what programs left out
	kinds       map[string]uint64 // what came, before any filter
	sockets     map[string]uint64 // what sockets speak, as the programs have counted
	undelivered map[string]uint64 // by sink: shown, and not delivered there
	unreadable  map[string]*event.Unreadable
	skipped     map[string]uint64 // of a recording, by kind: nobody takes them
	unread      map[string]uint64 // lines of a recording, by why
	overflows   uint64            // connections that listeners have dropped
	details     uint64            // lost, without which an event lacks a key
	inDetail    uint64            // the same, of the programs
	told        uint64            // losses that were told
}

// New returns an empty ledger.
func New() *Ledger {
	return &Ledger{
		filtered:    map[string]uint64{},
		lost:        map[string]uint64{},
		kinds:       map[string]uint64{},
		undelivered: map[string]uint64{},
		unreadable:  map[string]*event.Unreadable{},
		skipped:     map[string]uint64{},
	}
}

// Saw counts an event by its kind, whatever becomes of it.
func (l *Ledger) Saw(kind string) { l.kinds[kind]++ }

// Shown counts an event that stdout took.
func (l *Ledger) Shown() { l.shown++ }

// ShownSoFar is how many events were shown.
func (l *Ledger) ShownSoFar() uint64 { return l.shown }

// Unwritten takes back events that stdout took and could not write.
func (l *Ledger) Unwritten(n uint64) {
	n = min(n, l.shown)
	l.shown -= n
	l.Lost(OutputFull, n)
}

// Filtered counts events that a flag left out.
func (l *Ledger) Filtered(flag string, n uint64) {
	if n > 0 {
		l.filtered[flag] += n
	}
}

// Lost counts events that happened and cannot be shown.
func (l *Ledger) Lost(cause string, n uint64) {
	if n > 0 {
		l.lost[cause] += n
	}
}

// Detail counts something that a later event would have told.
func (l *Ledger) Detail() { l.details++ }

// Overflowed counts connections that listeners have dropped.
func (l *Ledger) Overflowed(n uint64) { l.overflows += n }

// Undelivered counts events that a sink beside stdout could not deliver.
func (l *Ledger) Undelivered(sink string, n uint64) {
	if n > 0 {
		l.undelivered[sink] += n
	}
}

// Skipped counts an event of a recording that this command does not show.
func (l *Ledger) Skipped(kind string) { l.skipped[kind]++ }

// Unread takes over what lines of a recording could not be read so far, by why.
func (l *Ledger) Unread(by map[string]uint64) { l.unread = by }

// maxUnreadable bounds what is told apart of connections that cannot be read.
const maxUnreadable = 256

// Unreadable counts connections that cannot be read.
func (l *Ledger) Unreadable(u event.Unreadable) {
	key := strings.Join(append([]string{u.Comm, u.ServerName, u.Why}, u.ALPN...), "\x00")
	if l.unreadable[key] == nil && len(l.unreadable) >= maxUnreadable {
		u.ServerName, u.ALPN = "", nil
		key = strings.Join([]string{u.Comm, "", u.Why}, "\x00")
	}
	if sum := l.unreadable[key]; sum != nil {
		sum.Connections += u.Connections
	} else {
		l.unreadable[key] = &u
	}
}

// InKernel takes over what programs have lost so far.
func (l *Ledger) InKernel(by map[string]uint64, details uint64) { l.inKernel, l.inDetail = by, details }

// LeftOut takes over what programs have left out so far, by flag, and what sockets
// speak.
func (l *Ledger) LeftOut(by, sockets map[string]uint64) { l.leftOut, l.sockets = by, sockets }

// Total is the number of events lost so far, and each cause's share.
func (l *Ledger) Total() (sum uint64, by map[string]uint64) {
	by = maps.Clone(l.lost)
	for cause, n := range l.inKernel {
		by[cause] += n
	}
	for _, n := range by {
		sum += n
	}
	return sum, by
}

// News are the losses, if there are more of them than when it was called last.
func (l *Ledger) News() (more, sum uint64, by map[string]uint64) {
	sum, by = l.Total()
	if sum <= l.told {
		return 0, sum, by
	}
	more, l.told = sum-l.told, sum
	return more, sum, by
}

// Account is what the closing line says of events.
func (l *Ledger) Account(duration time.Duration) *event.Account {
	a := &event.Account{
		Shown:      l.shown,
		Incomplete: l.details + l.inDetail,
		Kinds:      maps.Clone(l.kinds),
		Filtered:   maps.Clone(l.filtered),
		Duration:   duration,
	}
	a.Lost, a.LostBy = l.Total()
	a.Seen = a.Shown + a.Lost
	for _, n := range l.filtered {
		a.Seen += n
	}
	for what, n := range l.sockets {
		a.Kinds[what] += n
	}
	a.LeftOut = maps.Clone(l.leftOut)
	a.Overflows = l.overflows
	a.Undelivered = maps.Clone(l.undelivered)
	a.Skipped, a.Unread = maps.Clone(l.skipped), maps.Clone(l.unread)
	for _, key := range slices.Sorted(maps.Keys(l.unreadable)) {
		a.Unreadable = append(a.Unreadable, *l.unreadable[key])
	}
	return a
}
