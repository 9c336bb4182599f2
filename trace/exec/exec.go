// Package exec reports programs that start, fail to start and end: the records of
// bpf/exec.bpf.c become events.
//
// It does not know who shows them. Start with [Probe] and tracer.Decode.
package exec

import (
	"bytes"
	"errors"
	"flag"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
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
the host, and so with --summary. Each failed exec is a row, but those of one walk through PATH are one.
Failed execs of 32-bit programs are not seen.`,
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

	history *history // nil: how programs end is not told
	depths  tree     // nil: without tree
	sum     *summary // nil: without summary
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
}

// Validate says which flags exclude each other.
func (t *tracer) Validate() error {
	if t.tree && t.summary {
		return errors.New("--tree and --summary exclude each other")
	}
	return nil
}

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
	t.host = h
	t.walks = newWalks(h, h.Emit)
	if t.tree {
		t.depths = tree{}
	}
	if t.summary {
		t.sum = newSummary(kernel.Now())
		t.walks.emit = t.sumUp
		t.summing = h.Timer(t.tellSummary)
		t.summing.In(summaryInterval)
	}
	if t.tellsEnds() {
		t.history = newHistory(h, "/proc")
		t.history.scan(h.Options.PIDs)
	}
	return nil
}

func (t *tracer) Detaching() {}

func (t *tracer) End() {
	t.walks.end()
	if t.sum != nil {
		now := kernel.Now()
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
	now := kernel.Now()
	t.sum.tell(t.host, now, t.host.Clock.Wall(now), false)
}

func (t *tracer) Decode(record []byte) bool {
	const head = int(unsafe.Sizeof(bpf.ExecExecRecord{}))
	if len(record) < head {
		return false
	}
	r := (*bpf.ExecExecRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	data := record[head:]
	var part [4][]byte // exe, cwd, name and arguments
	for i, n := range [...]uint32{r.ExeLen, r.CwdLen, r.NameLen, r.ArgsLen} {
		if uint64(n) > uint64(len(data)) {
			return false
		}
		part[i], data = data[:n], data[n:]
	}
	exe, cwd, name, args := part[0], part[1], part[2], part[3]
	switch r.Type {
	case bpf.ExecEventStarted:
		t.decodeExec(r, exe, cwd, name, args)
	case bpf.ExecEventEnded:
		t.decodeExit(r)
	case bpf.ExecEventForked:
		if t.depths != nil {
			t.depths.forked(r.Pid, r.Ppid)
		}
		if t.history != nil {
			t.history.forked(r.Pid, r.Ppid, r.Start, r.Time, t.host.Comm(r.Comm), r.ExecId)
		}
	case bpf.ExecEventExecFailed:
		t.decodeFailed(r, exe, cwd, args)
	default:
		return false
	}
	return true
}

// common is what all records tell.
func (t *tracer) common(kind string, r *bpf.ExecExecRecord) event.Common {
	return event.Common{
		Time: t.host.Clock.Wall(r.Time),
		Kind: kind,
		Process: event.Process{
			PID:      r.Pid,
			Comm:     t.host.Comm(r.Comm),
			UID:      r.Uid,
			CgroupID: r.Cgroup,
		},
	}
}

// has reports whether one of these flags of a record is set.
func has(r *bpf.ExecExecRecord, flags bpf.ExecFlag) bool { return r.Flags&uint32(flags) != 0 }

func (t *tracer) decodeExec(r *bpf.ExecExecRecord, exe, cwd, name, args []byte) {
	program := event.Program{Exe: joinPath(exe, has(r, bpf.ExecFlagExeCut))}
	if !has(r, bpf.ExecFlagArgsUnreadable) {
		program.Args = proc.SplitArgs(args)
	}
	cut := has(r, bpf.ExecFlagArgsCut|bpf.ExecFlagArgsUnreadable)
	if t.history != nil {
		t.history.runs(r.Pid, r.Time, life{start: r.Start, program: program, cut: cut, id: r.ExecId})
	}
	if has(r, bpf.ExecFlagUnwanted) {
		return
	}
	e := &t.exec
	*e = event.Exec{
		Common:        t.common(event.KindExec, r),
		PPID:          r.Ppid,
		ParentComm:    t.host.Comm(r.ParentComm),
		ArgsTruncated: cut,
		Cwd:           joinPath(cwd, has(r, bpf.ExecFlagCwdCut)),
		User:          t.host.User(r.Uid),
		Program:       program,
	}
	if t.depths != nil {
		e.Depth = t.depths.started(r.Pid, r.Ppid)
	}
	if r.Pid == t.host.Options.Command && t.began == 0 {
		t.began = r.Time
	}
	t.walks.started(r.Tid, name, program.Args, cut)
	t.walks.pass(e)
}

func (t *tracer) decodeExit(r *bpf.ExecExecRecord) {
	depth := 0
	if t.depths != nil {
		depth = t.depths.ended(r.Pid, r.Ppid)
	}
	if t.history == nil {
		t.walks.ended(r.Pid)
		return
	}
	if has(r, bpf.ExecFlagUnwanted) {
		t.history.ended(r.Pid, r.Start, r.ExecId)
		return
	}
	e := &t.exit
	*e = event.Exit{
		Common: t.common(event.KindExit, r),
		PPID:   r.Ppid,
		User:   t.host.User(r.Uid),
		Depth:  depth,
	}
	start := r.Start
	if r.Pid == t.host.Options.Command && t.began != 0 {
		start = t.began // before, the process waited for tracing to begin
	}
	if r.Time > start {
		e.Duration = time.Duration(r.Time - start)
	}
	// wait(2): the low seven bits are the signal, then one for the core.
	if sig := unix.Signal(r.Code & 0x7f); sig != 0 {
		e.Signal = signalName(sig)
		e.Core = r.Code&0x80 != 0
	} else {
		e.Code = int(r.Code >> 8 & 0xff)
	}
	l := t.history.ended(r.Pid, r.Start, r.ExecId)
	e.Program, e.ArgsTruncated = l.program, l.cut
	t.walks.ended(r.Pid)
	t.walks.pass(e)
}

func (t *tracer) decodeFailed(r *bpf.ExecExecRecord, exe, cwd, args []byte) {
	e := event.ExecFailed{
		Common:     t.common(event.KindExecFailed, r),
		PPID:       r.Ppid,
		ParentComm: t.host.Comm(r.ParentComm),
		// What was asked for is the file name and the arguments.
		ArgsTruncated: has(r, bpf.ExecFlagArgsCut|bpf.ExecFlagArgsUnreadable|bpf.ExecFlagExeCut),
		User:          t.host.User(r.Uid),
		Error:         kernel.Errno(unix.Errno(-r.Code)),
	}
	if t.depths != nil {
		e.Depth = t.depths.of(r.Pid, r.Ppid)
	}
	if len(args) > 0 || !has(r, bpf.ExecFlagArgsUnreadable) {
		e.Args = proc.SplitArgs(args)
	}
	switch {
	case len(exe) == 0: // not readable
	case has(r, bpf.ExecFlagExePacked):
		e.Exe = joinPath(exe, has(r, bpf.ExecFlagExeCut))
	default:
		e.Exe = string(bytes.TrimSuffix(exe, []byte{0}))
		if has(r, bpf.ExecFlagExeCut) {
			e.Exe += "…"
		}
	}
	if has(r, bpf.ExecFlagOldGone) {
		if t.history != nil { // the kernel ends the process at once, and that is not the old program's end
			l := life{start: r.Start, program: e.Program, cut: has(r, bpf.ExecFlagArgsCut|bpf.ExecFlagArgsUnreadable), id: r.ExecId}
			if len(cwd) > 0 {
				l.program.Exe = joinPath(cwd, has(r, bpf.ExecFlagCwdCut))
			}
			t.history.runs(r.Pid, r.Time, l)
		}
		cwd = nil
	}
	t.walks.failed(r.Tid, r.Time, e, cwd, has(r, bpf.ExecFlagCwdCut))
}

// joinPath makes a path of its components, which come packed with their NULs
// and the last one first. One that was cut begins with "…".
func joinPath(packed []byte, cut bool) string {
	b := make([]byte, 0, len(packed)+len("…"))
	if cut {
		b = append(b, "…"...)
	}
	if len(packed) == 0 {
		return string(append(b, '/'))
	}
	for len(packed) > 0 {
		packed = packed[:len(packed)-1]
		start := bytes.LastIndexByte(packed, 0) + 1
		b = append(b, '/')
		b = append(b, packed[start:]...)
		packed = packed[:start]
	}
	return string(b)
}

// signalName is the name of a signal; real-time signals have none of their own.
func signalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	const sigrtmin = 34 // signal(7): as glibc numbers it
	if sig == sigrtmin {
		return "SIGRTMIN"
	}
	if sig > sigrtmin {
		return "SIGRTMIN+" + strconv.Itoa(int(sig-sigrtmin))
	}
	return "SIG" + strconv.Itoa(int(sig))
}
