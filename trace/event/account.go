package event

import (
	"maps"
	"slices"
	"time"
)

// Start says that the probes are attached: what happens from now on is
// reported.
type Start struct {
	Command string // the subcommand
	PID     int    // tracer's own
}

// AppendJSON appends s as one object.
func (s *Start) AppendJSON(dst []byte) []byte {
	o := object{buf: append(dst, '{')}
	o.str("event", "start")
	o.str("command", s.Command)
	o.uint("pid", uint64(s.PID))
	return append(o.buf, '}')
}

// Account is the closing line: what was seen, shown and lost, and what it cost.
type Account struct {
	Seen       uint64            // events that happened: shown, filtered out and lost
	Shown      uint64            // events written to stdout
	Lost       uint64            // events that happened and were not seen whole: the sum of LostBy
	LostBy     map[string]uint64 // by cause, only those above zero
	Incomplete uint64            // details lost: events that were shown may lack a key
	Kinds      map[string]uint64 // what came: events by kind, of http sockets by what they speak
	Filtered   map[string]uint64 // what was passed over, by the filter that did not match
	Unseen     []string          // what cannot be seen here, as sentences; for people
	Duration   time.Duration     // from ready to the end of tracing
	CPU        time.Duration     // tracer's own, user and system, all of its life
	BPF        time.Duration     // the programs' in the kernel
	HasBPF     bool              // the kernel told BPF
}

// AppendJSON appends a as one object.
func (a *Account) AppendJSON(dst []byte) []byte {
	o := object{buf: append(dst, '{')}
	o.str("event", "end")
	o.uint("seen", a.Seen)
	o.uint("shown", a.Shown)
	o.uint("lost", a.Lost)
	if len(a.LostBy) > 0 {
		o.counts("lost_by", a.LostBy)
	}
	if a.Incomplete > 0 {
		o.uint("incomplete", a.Incomplete)
	}
	if len(a.Kinds) > 0 {
		o.counts("kinds", a.Kinds)
	}
	if len(a.Filtered) > 0 {
		o.counts("filtered", a.Filtered)
	}
	o.micros("duration_us", a.Duration)
	o.micros("cpu_us", a.CPU)
	if a.HasBPF {
		o.int("bpf_ns", a.BPF.Nanoseconds())
	}
	return append(o.buf, '}')
}

// Notice is anything else that is said on stderr: a warning, or a loss as soon
// as it is known.
type Notice struct {
	Kind    string            // "note", "warning" or "lost"; of what is for programs alone its name
	Message string            // a sentence for people; empty if a closing page tells them
	About   Event             // nil: nothing in particular
	Lost    uint64            // so far, if Kind is "lost"
	LostBy  map[string]uint64 // so far, by cause
}

// AppendJSON appends n as one object.
func (n *Notice) AppendJSON(dst []byte) []byte {
	o := object{buf: append(dst, '{')}
	o.str("event", n.Kind)
	o.optional("message", n.Message)
	if n.About != nil {
		o.key("about")
		o.buf = AppendJSON(o.buf, n.About)
	}
	if n.Kind == "lost" {
		o.uint("lost", n.Lost)
		o.counts("lost_by", n.LostBy)
	}
	return append(o.buf, '}')
}

func (o *object) counts(key string, by map[string]uint64) {
	o.key(key)
	o.buf = append(o.buf, '{')
	for _, name := range slices.Sorted(maps.Keys(by)) {
		o.uint(name, by[name])
	}
	o.buf = append(o.buf, '}')
}
