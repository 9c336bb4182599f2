package event

import (
	"fmt"
	"net/netip"
	"time"
)

// Kinds of objects on stderr: the values of the JSON key "event".
const (
	KindStart   = "start" // Start
	KindEnd     = "end"   // Account
	KindNote    = "note"  // Notice, as the further ones
	KindWarning = "warning"
	KindLost    = "lost"
	// KindOverflow is of a Notice of connections that a listener has dropped.
	KindOverflow = "overflow"
	KindTotal    = "total"   // of a summary, of the whole run
	KindSlowest  = "slowest" // single events below it
)

// Format is the version of the JSON lines: a number above it means that lines
// have changed so much that this version would misread them. New keys and kinds
// do not change it.
const Format = 1

// Start says that the probes are attached: what happens from now on is
// reported. Each field may be unknown, and is empty then.
type Start struct {
	Time      time.Time    // when the probes were attached, UTC
	Format    int          // of all further lines, see the constant
	Version   string       // tracer's own
	Hostname  string       // as uname -n
	BootID    string       // /proc/sys/kernel/random/boot_id: tells hosts, and boots of one, apart
	Kernel    string       // release, as uname -r
	Command   string       // the subcommand
	Args      []string     // its arguments and flags, as they were given
	PID       int          // tracer's own
	Addresses []netip.Addr // of this host's interfaces
	Misses    []string     // what cannot be seen here, as sentences
}

func (s *Start) fields(t *table) {
	t.time("time", &s.Time, !s.Time.IsZero())
	t.derived("event", KindStart)
	t.int("format", &s.Format, s.Format != 0)
	t.text("version", &s.Version, s.Version != "")
	t.text("hostname", &s.Hostname, s.Hostname != "")
	t.text("boot_id", &s.BootID, s.BootID != "")
	t.text("kernel", &s.Kernel, s.Kernel != "")
	t.text("command", &s.Command, s.Command != "")
	t.texts("args", &s.Args, s.Args != nil)
	t.int("pid", &s.PID, s.PID != 0)
	t.addresses("addresses", &s.Addresses, s.Addresses != nil)
	t.texts("misses", &s.Misses, s.Misses != nil)
}

// AppendJSON appends s as one object.
func (s *Start) AppendJSON(dst []byte) []byte {
	t := table{out: dst}
	s.fields(&t)
	return t.close(len(dst))
}

// Reasons why tracing ended: values of the JSON key "reason".
const (
	EndedInterrupted = "interrupted" // by a signal
	EndedDuration    = "duration"    // as long as was asked for
	EndedCount       = "count"       // as many events as were asked for
	EndedCommand     = "command"     // the command that was started has ended
	EndedReader      = "reader"      // nobody reads stdout any more
	EndedRecording   = "recording"   // all of the recording was read
	EndedError       = "error"       // tracing failed
)

// Account is the closing line: what was seen, shown and lost, and what it cost.
type Account struct {
	Time       time.Time         // when tracing ended, UTC
	Reason     string            // why it ended: one of the Ended constants
	Seen       uint64            // events that happened: shown, filtered out and lost
	Shown      uint64            // events written to stdout
	Lost       uint64            // events that happened and were not seen whole: the sum of LostBy
	LostBy     map[string]uint64 // by cause, only those above zero
	Incomplete uint64            // details lost: events that were shown may lack a key
	Kinds      map[string]uint64 // what came: events by kind, of http sockets by what they speak
	Filtered   map[string]uint64 // what was passed over, by the filter that did not match
	Skipped    map[string]uint64 // of a recording, no part of Seen: events of other commands, by kind
	Unread     map[string]uint64 // of a recording: lines that could not be read, by why
	// LeftOut is what the kernel left out, by the option that asked for it: in the
	// kernel's own units (calls, sockets), and no part of Seen.
	LeftOut map[string]uint64
	// Overflows is how many connections listeners have dropped, because their queues were
	// full.
	Overflows uint64
	// Undelivered is what was shown, and a second sink could not deliver: by sink,
	// in its own units ("otlp": spans, data points and log records; "recording":
	// events).
	Undelivered map[string]uint64
	Unreadable  []Unreadable  // connections of TLS
	Unseen      []string      // what cannot be seen here, as sentences; for people
	Unopened    uint64        // connections of TCP that could not be opened meanwhile, by anyone in this network namespace; for people
	Duration    time.Duration // from ready to the end of tracing
	CPU         time.Duration // tracer's own, user and system, all of its life
	BPF         time.Duration // the programs' in the kernel
	HasBPF      bool          // the kernel told BPF
}

func (a *Account) fields(t *table) {
	t.time("time", &a.Time, !a.Time.IsZero())
	t.derived("event", KindEnd)
	t.text("reason", &a.Reason, a.Reason != "")
	t.uint64("seen", &a.Seen, true)
	t.uint64("shown", &a.Shown, true)
	t.uint64("lost", &a.Lost, true)
	t.counts("lost_by", &a.LostBy, len(a.LostBy) > 0)
	t.uint64("incomplete", &a.Incomplete, a.Incomplete != 0)
	t.counts("kinds", &a.Kinds, len(a.Kinds) > 0)
	t.counts("filtered", &a.Filtered, len(a.Filtered) > 0)
	t.counts("skipped", &a.Skipped, len(a.Skipped) > 0)
	t.counts("unread_lines", &a.Unread, len(a.Unread) > 0)
	t.counts("left_out", &a.LeftOut, len(a.LeftOut) > 0)
	t.uint64("overflows", &a.Overflows, a.Overflows > 0)
	t.counts("undelivered", &a.Undelivered, len(a.Undelivered) > 0)
	t.unreadable("unreadable", &a.Unreadable, len(a.Unreadable) > 0)
	t.micros("duration_us", &a.Duration, true)
	t.micros("cpu_us", &a.CPU, true)
	if t.reads("bpf_ns") {
		a.HasBPF = true
	}
	t.nanos("bpf_ns", &a.BPF, a.HasBPF)
}

// AppendJSON appends a as one object.
func (a *Account) AppendJSON(dst []byte) []byte {
	t := table{out: dst}
	a.fields(&t)
	return t.close(len(dst))
}

// Notice is anything else that is said on stderr: a warning, or a loss as soon
// as it is known.
type Notice struct {
	Time    time.Time         // when it was found out, UTC
	Kind    string            // KindNote, …
	Message string            // a sentence for people; empty if a closing page tells them
	About   Event             // nil: nothing in particular
	Lost    uint64            // so far, if Kind is "lost"
	LostBy  map[string]uint64 // so far, by cause

	// If Kind is "overflow": so many connections were dropped in the last second, by a
	// listener at Port; the others say whose it is. What is not known is empty.
	Dropped uint64
	PID     uint32
	Comm    string
	Port    uint16
}

func (n *Notice) fields(t *table) {
	t.time("time", &n.Time, !n.Time.IsZero())
	t.kind("event", &n.Kind)
	t.text("message", &n.Message, n.Message != "")
	t.about("about", &n.About)
	t.uint64("lost", &n.Lost, n.Kind == KindLost)
	t.counts("lost_by", &n.LostBy, n.Kind == KindLost)
	t.uint32("pid", &n.PID, n.PID != 0)
	t.text("comm", &n.Comm, n.Comm != "")
	t.uint16("port", &n.Port, n.Port != 0)
	t.uint64("dropped", &n.Dropped, n.Kind == KindOverflow)
}

// AppendJSON appends n as one object.
func (n *Notice) AppendJSON(dst []byte) []byte {
	t := table{out: dst}
	n.fields(&t)
	return t.close(len(dst))
}

// about is an event within an object; left out if there is none. Objects of other
// kinds are never within another.
func (t *table) about(key string, p *Event) {
	switch {
	case t.writes(key, *p != nil):
		t.out = AppendJSON(t.out, *p)
	case t.reads(key):
		kind := t.in.find("event")
		if newReport(kind) == nil {
			*p = t.in.event(kind)
		} else {
			t.in.fail(fmt.Errorf("%w: an object of kind %.64q within another", ErrForeign, kind))
		}
		t.in.next()
	}
}

// newReport makes an object for a value of the JSON key "event" on stderr; nil if
// there is no such kind.
func newReport(kind string) Object {
	switch kind {
	case KindStart:
		return new(Start)
	case KindEnd:
		return new(Account)
	case KindNote, KindWarning, KindLost, KindOverflow, KindTotal, KindSlowest:
		return new(Notice)
	}
	return nil
}

// report goes through the table of o, as event does.
func (t *table) report(o Object) {
	switch o := o.(type) {
	case *Start:
		o.fields(t)
	case *Account:
		o.fields(t)
	case *Notice:
		o.fields(t)
	}
}
