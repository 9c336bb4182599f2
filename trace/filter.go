package trace

import (
	"tracer/trace/event"
	"tracer/trace/option"
)

// Filter says whose events are wanted. PIDs and UID are decided in the kernel,
// the rest by match.
type Filter struct {
	PIDs  []uint32 // these processes and the children that they start; empty: all
	UID   *uint32  // this real user id; nil: all
	Comms []string // names; * and ? match; empty: all
}

// match reports whether an event passes what the kernel did not decide.
func (f *Filter) match(e *event.Common) bool {
	return option.MatchAny(f.Comms, e.Comm)
}
