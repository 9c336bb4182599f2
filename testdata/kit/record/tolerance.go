package record

import (
	"tracer/trace/event"
	"tracer/trace/kernel"
)

// A tolerance is a loss that no program can prevent on some kernels, and that is told:
// it does not fail a test.
type tolerance struct {
	why   string
	probe string // empty: any
	where func(r *Recorder) bool
	cause string // in lost_by; "details" for those
	most  func(a *event.Account) uint64
}

func preempting(r *Recorder) bool { return r.preempts }

func all(cause string) func(a *event.Account) uint64 {
	return func(a *event.Account) uint64 { return a.LostBy[cause] }
}

// tolerances is the table of all of them.
var tolerances = []tolerance{
	{
		why:   "all copies of a program may be under way in tasks that wait",
		where: preempting, cause: "program_missed", most: all("program_missed"),
	},
	{
		why:   "some of those come out only as requests whose answers are uncertain",
		probe: "http", where: preempting, cause: "unpaired",
		most: func(a *event.Account) uint64 { return 1 + a.LostBy["program_missed"] },
	},
	{
		why:   "the kernel leaves a kprobe out while a task is in bpf(2)",
		where: func(r *Recorder) bool { return r.opts.Tier == kernel.Kprobe },
		cause: "program_missed", most: all("program_missed"),
	},
	{
		why:   "an accept whose kprobe was left out is found out later",
		probe: "conn", where: (*Recorder).MayMiss, cause: "accept_missed", most: all("accept_missed"),
	},
	{
		why:   "of connects that fail at once the same",
		probe: "conn", where: (*Recorder).MayMiss, cause: "details",
		most: func(a *event.Account) uint64 { return a.Incomplete },
	},
	{
		why:   "programs of which hardly any run tells something have no copies, or all of them may be under way",
		where: preempting, cause: "details",
		most: func(a *event.Account) uint64 { return max(3, a.Seen/100) },
	},
}

// MayMiss reports whether accepts and failing connects may be missed for reasons of the
// kernel's own.
func (r *Recorder) MayMiss() bool {
	return r.opts.Tier == kernel.Kprobe || r.preempts && r.opts.Tier == kernel.Tracepoint
}

// Tolerated is what an account has lost beyond what is tolerated on this kernel.
func (r *Recorder) Tolerated(a *event.Account) (lost, incomplete uint64) {
	lost, incomplete = a.Lost, a.Incomplete
	done := map[string]bool{}
	for _, t := range tolerances {
		if t.probe != "" && t.probe != r.probe || done[t.cause] || !t.where(r) {
			continue
		}
		done[t.cause] = true
		if n := t.most(a); t.cause == "details" {
			incomplete -= min(n, incomplete)
		} else {
			lost -= min(n, a.LostBy[t.cause])
		}
	}
	return lost, incomplete
}
