package session

import "tracer/trace/option"

// Filter says whose events are wanted. PIDs and UID are decided in the kernel,
// the rest by Wants.
type Filter struct {
	PIDs  []uint32 // these processes and the children that they start; empty: all
	UID   *uint32  // this real user id; nil: all
	Comms []string // names; * and ? match; empty: all
}

// Wants reports whether a process of this name passes what the kernel did not
// decide.
func (f *Filter) Wants(comm string) bool {
	return len(f.Comms) == 0 || option.MatchAny(f.Comms, comm)
}
