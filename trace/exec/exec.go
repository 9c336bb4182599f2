// Package exec reports programs that start, fail to start and end: the records of
// bpf/exec.bpf.c become events.
//
// It does not know who shows them. Start with [Probe] and tracer.Decode.
package exec

import (
	"errors"
	"flag"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/option"
	"tracer/trace/session"
)

// execRing is the size of the ring, in bytes: some 8,000 usual records, for a reader
// that is woken when a quarter of it waits.
const execRing = 4 << 20

// Probe is the row of `tracer exec`.
var Probe = session.Probe{Name: "exec",
	Short: "every program that starts, with its arguments, parent and place",
	Long: `Show every program that starts, with all its arguments. With --exits also show how
programs end, with --failed also execs that failed, and with --tree each program
indented under the one that started it.

With --summary there is one row per program and parent: how many started, how many
ended with an exit status other than 0 (FAILED) or by a signal (KILLED), how many
execs failed (NO EXEC), and how long those ran that ended, in all (TOTAL) and the
longest. Rows are sorted by TOTAL. A process that is older than tracing, or that was
only forked, counts if a signal ended it.

The kernel itself reports each new program (tracepoint sched_process_exec). So
scripts, programs in a chroot, programs started by threads, and processes that live
for a millisecond are all seen. With --failed tracer looks at every system call of
the host, and so with --summary. Each failed exec is a row, but those of one walk
through PATH are one. Failed execs of 32-bit programs are not seen.`,
	Example: `  tracer exec --exits                    which programs run, and how they end
  tracer exec --exits -- make test       the programs that a command starts
  tracer exec --summary                  which programs fail or take long
  tracer exec --json | jq -r '.args | join(" ")'`,
	Full: []string{"--exits", "--failed"},
	New:  func() session.Tracer { return &tracer{} },
}

// tracer reports programs that start, fail to start and end.
type tracer struct {
	exits, failed bool
	summary, tree bool

	host *session.Host

	history *history     // nil: how programs end is not told
	depths  tree         // nil: without tree
	trees   map[int]tree // of a recording: those of each host
	sum     *summary     // nil: without summary
	order   option.Order
	summing *session.Timer
	began   uint64 // when the command that was started to be traced did, 0: not yet
	walks   *walks

	// Reused for every event of its kind.
	exec event.Exec
	exit event.Exit
}

func (t *tracer) Flags(flags *flag.FlagSet) {
	flags.BoolVar(&t.exits, "exits", false, "also report how processes end")
	flags.BoolVar(&t.failed, "failed", false, "also report execs that failed")
	flags.BoolVar(&t.tree, "tree", false, "indent each program under the one that started it")
	flags.BoolVar(&t.summary, "summary", false, "one row per program and parent: how many, failures, time")
	flags.Var(t.order.Flag(summaryKeys...), "sort", t.order.Usage())
}

// Validate says which flags exclude each other.
func (t *tracer) Validate() error {
	if t.tree && t.summary {
		return errors.New("--tree and --summary exclude each other")
	}
	return t.order.Validate(t.summary)
}

// Order is what the rows of a summary are sorted by.
func (t *tracer) Order() *option.Order {
	if !t.summary {
		return nil
	}
	return &t.order
}

// Reorder shows the summary once more: in another order.
func (t *tracer) Reorder() { t.sum.reorder(t.host) }

// View is another one with --summary.
func (t *tracer) View() string {
	if t.summary {
		return Probe.Name + "-summary"
	}
	return Probe.Name
}

// tellsEnds and tellsFailed report what is told, in rows or summed up.
func (t *tracer) tellsEnds() bool   { return t.exits || t.summary }
func (t *tracer) tellsFailed() bool { return t.failed || t.summary }

func (t *tracer) Plan(_ *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	return kernel.Plan{
		Name: Probe.Name, Ring: bpf.ExecMapEvents,
		Maps: map[string]kernel.Size{
			bpf.ExecMapEvents:    {Entries: execRing},
			bpf.ExecMapScratches: {PerCPU: true},
		},
		Knobs: map[string]any{
			bpf.ExecVarNrExecve:    int32(unix.SYS_EXECVE),
			bpf.ExecVarNrExecveat:  int32(unix.SYS_EXECVEAT),
			bpf.ExecVarTellsFailed: t.tellsFailed(),
			// Their end tells what processes ran that came to be wanted later.
			bpf.ExecVarKeepsUnwanted: t.tellsEnds() && (opts.UID != nil || opts.FiltersPlaces()),
		},
		Features: t.features(),
	}, nil
}

func (t *tracer) features() []kernel.Feature {
	by := func(name string, programs ...string) kernel.Feature {
		return kernel.Feature{Name: name, Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: programs}}}
	}
	f := []kernel.Feature{by("programs that start", bpf.ExecProgExecProcessExec)}
	if t.tellsEnds() || t.tree { // a process may have been forked by one that was only forked
		f = append(f, by("how they end", bpf.ExecProgExecProcessFork, bpf.ExecProgExecProcessExit))
	}
	if t.tellsFailed() {
		f = append(f, by("execs that fail", bpf.ExecProgExecSysExit), kernel.Feature{
			Name: "programs that fail as they load",
			Doors: []kernel.Door{
				{Tier: kernel.Tracepoint, Programs: []string{bpf.ExecProgExecLoadsTp}},
				{Tier: kernel.Function, Programs: []string{bpf.ExecProgExecLoadsFentry}},
				{Tier: kernel.Kprobe, Programs: []string{bpf.ExecProgExecLoadsKprobe}},
			},
			Without: "arguments of programs that fail when the old program is gone are not visible on this kernel",
		})
	}
	return f
}

// Attached looks up what the processes run that are there already. On a host
// with very many the rest of it comes while events do.
func (t *tracer) Attached(h *session.Host) error {
	t.begin(h)
	t.walks = newWalks(h, h.Emit)
	if t.summary {
		t.walks.emit = t.sumUp
	}
	if t.tellsEnds() {
		t.history = newHistory(h, "/proc")
		t.history.scan(h.Options.PIDs)
	}
	return nil
}

// begin readies the tracer for events.
func (t *tracer) begin(h *session.Host) {
	t.host = h
	if t.tree {
		t.depths = tree{}
	}
	if t.summary {
		t.sum = newSummary(h.Now())
		t.sum.key = t.order.Key
		t.summing = h.Timer(t.tellSummary)
		t.summing.In(summaryInterval)
	}
}

func (t *tracer) Detaching() {}

func (t *tracer) End() {
	t.walks.end()
	t.endSummary()
}

func (t *tracer) endSummary() {
	if t.sum != nil {
		now := t.host.Now()
		t.sum.tell(t.host, now, t.host.Clock.Wall(now), true)
	}
}

// sumUp takes an event that is a row without a summary.
func (t *tracer) sumUp(e event.Event) {
	if t.host.Take(e) {
		t.sum.add(e)
	}
}

func (t *tracer) tellSummary() {
	t.summing.In(summaryInterval)
	now := t.host.Now()
	t.sum.tell(t.host, now, t.host.Clock.Wall(now), false)
}
