// Package exec reports programs that start, fail to start and end: the records of
// bpf/exec.bpf.c become events.
//
// It does not know who shows them. Start with [Probe] and tracer.Decode.
package exec

import (
	"bytes"
	"flag"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
	"tracer/trace/session"
)

const (
	// execRing is the size of the ring, in bytes: some 8,000 usual records,
	// for a reader that is woken when a quarter of it waits.
	execRing = 4 << 20
	// walkQuiet is how long after a failed attempt the next one of the same
	// walk through PATH may come.
	walkQuiet = 60 * time.Millisecond
	// maxHistory bounds what is remembered of living processes, in bytes of
	// text and in processes.
	maxHistory   = 64 << 20
	maxProcesses = 1 << 17
	// scanBudget is how long the first events may wait for what is known of
	// processes that are older than the session.
	scanBudget = 50 * time.Millisecond
	// olderInterval is how often the rest of it is taken over.
	olderInterval = 10 * time.Millisecond
)

// Probe is the row of `tracer exec`.
var Probe = session.Probe{Name: "exec",
	Short: "every program that starts, with its arguments, parent and place",
	Long: `Show every program that starts, with all its arguments. With --exits also show how
programs end, with --failed also execs that failed.

The kernel itself reports each new program (tracepoint sched_process_exec). So
scripts, programs in a chroot, programs started by threads, and processes that live
for a millisecond are all seen. With --failed tracer looks at every system call of
the host. Failed execs of 32-bit programs are not seen.`,
	Example: `  tracer exec --exits                    which programs run, and how they end
  tracer exec --exits -- make test       the programs that a command starts
  tracer exec --json | jq -r '.args | join(" ")'`,
	Full: []string{"--exits", "--failed"},
	New:  func() session.Tracer { return &tracer{} },
}

// tracer reports programs that start, fail to start and end.
type tracer struct {
	exits, failed bool

	host *session.Host

	// What living processes run, for their end. Only with exits.
	history map[uint32]life
	text    int // bytes in history, programs shared by a fork counted each time
	older   chan older
	began   uint64 // when the command that was started to be traced did, 0: not yet

	// The failed attempts that may be part of a walk through PATH, by thread.
	walks map[uint32]*walk

	walkTimer  *session.Timer // a walk may be over
	olderTimer *session.Timer // scan may have found more

	// Reused for every event of its kind.
	exec event.Exec
	exit event.Exit
}

// life is what a process runs. start tells it from another with its id.
type life struct {
	start   uint64
	program event.Program
	cut     bool // the program's arguments are not all
}

// older is what /proc tells of a process that began before the session.
type older struct {
	stat    proc.Stat
	program event.Program
}

// walk is a command that was not found yet: execvp(3) tries one directory of
// PATH after the other, with the same arguments.
type walk struct {
	event.ExecFailed
	base string // the name that is looked for
	time uint64 // of the last attempt, boot clock
}

func (t *tracer) Flags(flags *flag.FlagSet) {
	flags.BoolVar(&t.exits, "exits", false, "also report how processes end")
	flags.BoolVar(&t.failed, "failed", false, "also report execs that failed")
}

func (t *tracer) Plan(*kernel.Types, *session.Options) (kernel.Plan, error) {
	return kernel.Plan{
		Name: Probe.Name, Load: bpf.LoadExec, Ring: bpf.ExecMapEvents,
		Maps: map[string]kernel.Size{
			bpf.ExecMapEvents:    {Entries: execRing},
			bpf.ExecMapScratches: {PerCPU: true},
		},
		Knobs: map[string]any{
			bpf.ExecVarNrExecve:   int32(unix.SYS_EXECVE),
			bpf.ExecVarNrExecveat: int32(unix.SYS_EXECVEAT),
		},
		Features: t.features(),
	}, nil
}

func (t *tracer) features() []kernel.Feature {
	by := func(name string, programs ...string) kernel.Feature {
		return kernel.Feature{Name: name, Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: programs}}}
	}
	f := []kernel.Feature{by("programs that start", bpf.ExecProgExecProcessExec)}
	if t.exits {
		f = append(f, by("how they end", bpf.ExecProgExecProcessFork, bpf.ExecProgExecProcessExit))
	}
	if t.failed {
		f = append(f, by("execs that fail", bpf.ExecProgExecSysExit))
	}
	return f
}

// Attached looks up what the processes run that are there already. On a host
// with very many the rest of it comes while events do.
func (t *tracer) Attached(h *session.Host) error {
	t.host = h
	t.walks = map[uint32]*walk{}
	t.walkTimer = h.Timer(t.endWalks)
	t.olderTimer = h.Timer(t.takeOlder)
	if !t.exits {
		return nil
	}
	t.history = map[uint32]life{}
	t.older = make(chan older, 1024)
	go scan("/proc", h.Options.PIDs, t.older)
	deadline := time.NewTimer(scanBudget)
	defer deadline.Stop()
	for t.older != nil {
		select {
		case o, ok := <-t.older:
			t.remember(o, ok)
		case <-deadline.C:
			t.olderTimer.In(olderInterval)
			return nil
		}
	}
	return nil
}

// scan sends what is known of these processes, or of all, and closes found.
func scan(dir proc.Dir, pids []uint32, found chan<- older) {
	defer close(found)
	if len(pids) == 0 {
		pids, _ = dir.PIDs() // an unreadable /proc leaves keys out, no more
	}
	for _, pid := range pids {
		stat, err := dir.Stat(pid)
		if err != nil {
			continue
		}
		var p event.Program
		p.Exe, _ = dir.Exe(pid)
		if args, err := dir.Args(pid); err == nil && len(args) > 0 {
			p.Args = args
		}
		found <- older{stat, p}
	}
}

// remember takes over what scan found, unless an event told it meanwhile.
func (t *tracer) remember(o older, ok bool) {
	if !ok {
		t.older = nil
		return
	}
	if _, known := t.history[o.stat.PID]; !known {
		t.keep(o.stat.PID, life{program: o.program})
	}
}

// keep remembers what a process runs, as long as there is room.
func (t *tracer) keep(pid uint32, l life) {
	t.forget(pid)
	size := l.size()
	if t.text+size > maxHistory || len(t.history) >= maxProcesses {
		t.host.Ledger.Detail()
		return
	}
	t.text += size
	t.history[pid] = l
}

func (t *tracer) forget(pid uint32) {
	if l, ok := t.history[pid]; ok {
		t.text -= l.size()
		delete(t.history, pid)
	}
}

func (l *life) size() int {
	n := len(l.program.Exe)
	for _, a := range l.program.Args {
		n += len(a) + int(unsafe.Sizeof(a))
	}
	return n
}

// takeOlder takes over what scan has found meanwhile.
func (t *tracer) takeOlder() {
	for range len(t.older) {
		o, ok := <-t.older
		t.remember(o, ok)
	}
	if t.older != nil {
		t.olderTimer.In(olderInterval)
	}
}

// endWalks tells of commands that were not found anywhere.
func (t *tracer) endWalks() {
	now := t.host.Horizon()
	next := uint64(0)
	for tid, w := range t.walks {
		if over := w.time + uint64(walkQuiet); now > over {
			t.endWalk(tid, w)
		} else if next == 0 || over < next {
			next = over
		}
	}
	if next > 0 {
		t.walkTimer.At(next)
	}
}

func (t *tracer) endWalk(tid uint32, w *walk) {
	delete(t.walks, tid)
	t.host.Emit(&w.ExecFailed)
}

func (t *tracer) Detaching() {}

func (t *tracer) End() {
	for tid, w := range t.walks {
		t.endWalk(tid, w)
	}
}

func (t *tracer) Decode(record []byte) bool {
	const head = int(unsafe.Sizeof(bpf.ExecExecRecord{}))
	if len(record) < head {
		return false
	}
	r := (*bpf.ExecExecRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	data := record[head:]
	exeLen, cwdLen, argsLen := uint64(r.ExeLen), uint64(r.CwdLen), uint64(r.ArgsLen)
	if exeLen+cwdLen+argsLen > uint64(len(data)) {
		return false
	}
	exe, cwd, args := data[:exeLen], data[exeLen:exeLen+cwdLen], data[exeLen+cwdLen:exeLen+cwdLen+argsLen]
	switch r.Type {
	case bpf.ExecEventStarted:
		t.decodeExec(r, exe, cwd, args)
	case bpf.ExecEventEnded:
		t.decodeExit(r)
	case bpf.ExecEventForked:
		if l, ok := t.history[r.Ppid]; ok {
			l.start = r.Start
			t.keep(r.Pid, l)
		}
	case bpf.ExecEventExecFailed:
		t.decodeFailed(r, exe, args)
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

func (t *tracer) decodeExec(r *bpf.ExecExecRecord, exe, cwd, args []byte) {
	e := &t.exec
	*e = event.Exec{
		Common:        t.common(event.KindExec, r),
		PPID:          r.Ppid,
		ParentComm:    t.host.Comm(r.ParentComm),
		ArgsTruncated: has(r, bpf.ExecFlagArgsCut|bpf.ExecFlagArgsUnreadable),
		Cwd:           joinPath(cwd, has(r, bpf.ExecFlagCwdCut)),
		User:          t.host.User(r.Uid),
		Program: event.Program{
			Exe: joinPath(exe, has(r, bpf.ExecFlagExeCut)),
		},
	}
	if !has(r, bpf.ExecFlagArgsUnreadable) {
		e.Args = proc.SplitArgs(args)
	}
	if r.Pid == t.host.Options.Command && t.began == 0 {
		t.began = r.Time
	}
	// The attempts that missed were part of this command.
	if w, ok := t.walks[r.Tid]; ok {
		delete(t.walks, r.Tid)
		if !isCalled(e.Comm, w.base) {
			t.host.Emit(&w.ExecFailed)
		}
	}
	if t.exits {
		t.keep(r.Pid, life{r.Start, e.Program, e.ArgsTruncated})
	}
	t.host.Emit(e)
}

func (t *tracer) decodeExit(r *bpf.ExecExecRecord) {
	e := &t.exit
	*e = event.Exit{
		Common: t.common(event.KindExit, r),
		PPID:   r.Ppid,
		User:   t.host.User(r.Uid),
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
	if l, ok := t.history[r.Pid]; ok && (l.start == 0 || l.start == r.Start) {
		e.Program, e.ArgsTruncated = l.program, l.cut
	}
	for tid, w := range t.walks {
		if w.PID == r.Pid { // whichever of its threads it was
			t.endWalk(tid, w)
		}
	}
	t.forget(r.Pid)
	t.host.Emit(e)
}

func (t *tracer) decodeFailed(r *bpf.ExecExecRecord, exe, args []byte) {
	e := event.ExecFailed{
		Common:        t.common(event.KindExecFailed, r),
		PPID:          r.Ppid,
		ParentComm:    t.host.Comm(r.ParentComm),
		ArgsTruncated: has(r, bpf.ExecFlagArgsCut|bpf.ExecFlagArgsUnreadable),
		User:          t.host.User(r.Uid),
		Error:         kernel.Errno(unix.Errno(-r.Code)),
		Program: event.Program{
			Exe:  string(bytes.TrimSuffix(exe, []byte{0})),
			Args: proc.SplitArgs(args),
		},
	}
	name := base(e.Exe)
	w := t.walks[r.Tid]
	switch {
	case w == nil:
	case sameCommand(w, name, e.Args) && r.Time-w.time < uint64(walkQuiet):
		// One more directory. What was asked for is the bare name, and
		// execvp reports EACCES if that was among the errors.
		w.Exe = name
		if w.Error != "EACCES" {
			w.Error = e.Error
		}
		w.time = r.Time
		return
	default:
		t.endWalk(r.Tid, w)
	}
	t.walks[r.Tid] = &walk{ExecFailed: e, base: name, time: r.Time}
	t.walkTimer.At(r.Time + uint64(walkQuiet))
}

// sameCommand reports whether an attempt to run name goes on with the walk w.
func sameCommand(w *walk, name string, args []string) bool {
	if w.base != name || len(w.Args) != len(args) {
		return false
	}
	for i := range args {
		if args[i] != w.Args[i] {
			return false
		}
	}
	return true
}

// isCalled reports whether a program that was started by this file name has
// this comm: the kernel cuts it at 15 bytes. Its path and arguments may be
// others, those of the link's target or of the interpreter.
func isCalled(comm, name string) bool {
	return comm == name[:min(len(name), 15)]
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

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
