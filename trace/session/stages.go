package session

import (
	"time"

	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/place"
	"tracer/trace/proc"
)

// stages are what an event goes through behind its probe: place → filter → merge →
// limit → fan-out. All is counted in one ledger.
type stages struct {
	opts   Options
	ledger *account.Ledger
	sinks  *fanout
	merge  *merge  // nil: one probe alone, whose events come in order
	places *places // nil: not known here
	timers timers
	ending uint64 // when tracing ended, by the boot clock; 0: it goes on
	queued bool   // queues of listeners are watched
	clock  *kernel.Clock
	users  *proc.Users
	comms  map[[16]int8]string
	beside []func(stop <-chan struct{}) error // what runs beside the pipeline

	recorded *recorded // nil: events come from this host
}

func newStages(opts Options, clock *kernel.Clock, users *proc.Users) stages {
	return stages{opts: opts, ledger: account.New(), clock: clock, users: users, comms: map[[16]int8]string{}}
}

func (s *stages) notice(n *event.Notice) {
	if n.Time = time.Now().UTC(); s.recorded != nil {
		n.Time = s.recorded.now
	}
	if s.opts.Notice != nil {
		s.opts.Notice(n)
	}
}

// enough reports whether as many events were shown as were asked for.
func (s *stages) enough() bool {
	return s.opts.Count > 0 && s.ledger.ShownSoFar() >= s.opts.Count
}

// pass passes an event on to the sinks, behind earlier ones of other probes.
func (s *stages) pass(e event.Event) {
	if s.merge != nil {
		s.merge.add(e)
	} else {
		s.sinks.event(e)
	}
}

// judgeEvent is judge, also for an event of a recording.
func (s *stages) judgeEvent(e event.Event) Refusal {
	if s.recorded != nil {
		return s.recorded.judge(e)
	}
	return s.judge(e.Head())
}

// judge fills in where an event happened and says whether it passes --comm and the
// place that is wanted. An event without a cgroup keeps the place that its probe
// gave it. For a cgroup that was never heard of it waits, for at most 50 ms:
// place.Options.
func (s *stages) judge(h *event.Common) Refusal {
	if !s.opts.Wants(h.Comm) {
		return Refusal{Filter: "comm"}
	}
	complete := s.locate(h)
	p := s.places
	if p == nil || p.filter == (place.Filter{}) {
		return Refusal{}
	}
	var at *place.Place
	if h.Place != (event.Place{}) {
		at = &h.Place
	}
	switch p.filter.Judge(at, complete) {
	case place.Wanted:
		return Refusal{}
	case place.Unknown:
		return Refusal{Cause: account.PlaceUnknown}
	}
	return Refusal{Filter: "place"}
}

// locate fills in where an event happened, and reports whether all of that is known.
func (s *stages) locate(h *event.Common) (complete bool) {
	id := h.CgroupID
	h.CgroupID &^= place.V1
	if s.places == nil || id == 0 {
		return true
	}
	h.Place, complete = s.places.locate(id, h.PID)
	if s.opts.CgroupPaths {
		h.Cgroup = s.places.resolver.Path(id)
	}
	return complete
}

// comm is the text of a kernel's name; equal names share their memory.
func (s *stages) comm(c [16]int8) string {
	if name, ok := s.comms[c]; ok {
		return name
	}
	if len(s.comms) >= 4096 {
		clear(s.comms)
	}
	b := make([]byte, 0, len(c))
	for _, ch := range c {
		if ch == 0 {
			break
		}
		b = append(b, byte(ch))
	}
	name := string(b)
	s.comms[c] = name
	return name
}
