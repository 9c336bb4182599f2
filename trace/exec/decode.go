package exec

import (
	"bytes"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
)

// Decode turns a record into an event, or into what is known of processes.
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
