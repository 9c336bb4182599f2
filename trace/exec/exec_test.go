package exec

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/render"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
	"tracer/trace/session"
)

func TestMain(m *testing.M) {
	work.Main()
	time.Local = time.UTC // golden files show local time
	os.Exit(m.Run())
}

// itself is a session's filter: this process and what it starts.
var itself = session.Filter{PIDs: []uint32{uint32(os.Getpid())}}

func TestKernelExecLossIsCountedExactly(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	for _, b := range []kernel.Buffer{kernel.BufferRing, kernel.BufferPerf} {
		t.Run(b.String(), func(t *testing.T) { testExecLoss(t, b) })
	}
}

func testExecLoss(t *testing.T, buffer kernel.Buffer) {
	const n = 331
	var opts session.Options
	opts.Filter, opts.Buffer = itself, buffer
	opts.Limits.RingBytes = 4096 // a handful of records
	r := record.Open(t, Probe, opts, "--exits")
	// Nobody reads while the storm goes on.
	for i := range n {
		if err := exec.Command("/bin/true", strconv.Itoa(i)).Run(); err != nil {
			t.Fatal(err)
		}
	}
	a := r.Stop()
	// Each makes an exec and an exit; Go may fork one more process to learn
	// what the kernel can.
	made := uint64(2 * n)
	if a.Lost == 0 || a.Shown == 0 || a.Shown+a.Lost != made && a.Shown+a.Lost != made+1 {
		t.Errorf("made %d: %+v", made, a)
	}
	if a.LostBy["ring_full"] != a.Lost || a.Shown != uint64(len(r.Events())) {
		t.Errorf("read %d: %+v", len(r.Events()), a)
	}
	if a.Incomplete == 0 {
		t.Errorf("forks were lost without a word: %+v", a)
	}
}

func TestKernelFollowingTooManyIsCounted(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	var opts session.Options
	opts.Filter = itself
	opts.Limits.Follows = 1 // this process alone
	r := record.Open(t, Probe, opts)
	const n = 13
	for range n {
		if err := exec.Command("/bin/true").Run(); err != nil {
			t.Fatal(err)
		}
	}
	if a := r.Stop(); len(r.Events()) != 0 || a.LostBy["map_full"] < n {
		t.Errorf("%d events: %+v", len(r.Events()), a)
	}
}

func TestKernelNothingStaysInTheKernel(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	before := record.KernelObjects(t)
	r := record.Open(t, Probe, session.Options{Filter: session.Filter{PIDs: []uint32{1}}}, "--exits", "--failed")
	if during := record.KernelObjects(t); during <= before {
		t.Fatalf("%d objects before, %d while tracing", before, during)
	}
	r.Stop()
	if after := record.KernelObjects(t); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
}

// sample builds a record as the kernel sends it.
func sample(r bpf.ExecExecRecord, exe, cwd, args string) []byte {
	return named(r, exe, cwd, "", args)
}

// named is sample with the name that a file was asked for by.
func named(r bpf.ExecExecRecord, exe, cwd, name, args string) []byte {
	r.ExeLen, r.CwdLen, r.NameLen, r.ArgsLen = uint32(len(exe)), uint32(len(cwd)), uint32(len(name)), uint32(len(args))
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	return append(append([]byte(nil), b...), exe+cwd+name+args...)
}

func comm(name string) (c [16]int8) {
	for i := range len(name) {
		c[i] = int8(name[i])
	}
	return c
}

// offline is a tracer without a kernel.
func offline(t *testing.T) (*tracer, *record.Recorder) {
	r := record.New(t)
	x := &tracer{exits: true, failed: true}
	x.host = session.Offline(x, session.Options{}, r)
	x.walks, x.history = newWalks(x.host, x.host.Emit), newHistory(x.host, "/nonexistent")
	return x, r
}

func TestDecodeExec(t *testing.T) {
	base := bpf.ExecExecRecord{
		Type: bpf.ExecEventStarted, Time: 1500, Start: 1000, Cgroup: 77, Pid: 10, Tid: 10, Ppid: 9, Uid: 1000,
		Comm: comm("sleep"), ParentComm: comm("bash"),
	}
	want := event.Exec{
		Common: event.Common{
			Time: time.Unix(0, 1500).UTC(), Kind: event.KindExec,
			Process: event.Process{PID: 10, Comm: "sleep", UID: 1000, CgroupID: 77},
		},
		PPID: 9, ParentComm: "bash",
	}
	for name, c := range map[string]struct {
		exe, cwd, args string
		flags          bpf.ExecFlag
		want           func(*event.Exec)
	}{
		"a usual one": {"sleep\x00bin\x00usr\x00", "root\x00", "sleep\x0010\x00", 0, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args = "/usr/bin/sleep", "/root", []string{"sleep", "10"}
		}},
		"in the root folder": {"sh\x00", "", "sh\x00", 0, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args = "/sh", "/", []string{"sh"}
		}},
		"empty arguments": {"a\x00", "", "\x00\x00x\x00\x00", 0, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args = "/a", "/", []string{"", "", "x", ""}
		}},
		"no arguments": {"a\x00", "", "", 0, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args = "/a", "/", []string{}
		}},
		"arguments cut within one": {"a\x00", "", "a\x00bc", bpf.ExecFlagArgsCut, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args, e.ArgsTruncated = "/a", "/", []string{"a", "bc"}, true
		}},
		"arguments that could not be read": {"a\x00", "", "", bpf.ExecFlagArgsUnreadable, func(e *event.Exec) {
			e.Exe, e.Cwd, e.ArgsTruncated = "/a", "/", true
		}},
		"paths that are too deep": {"b\x00a\x00", "d\x00c\x00", "b\x00", bpf.ExecFlagExeCut | bpf.ExecFlagCwdCut, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args = "…/a/b", "…/c/d", []string{"b"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x, got := offline(t)
			r := base
			r.Flags = uint32(c.flags)
			if !x.Decode(sample(r, c.exe, c.cwd, c.args)) {
				t.Fatal("rejected")
			}
			w := want
			c.want(&w)
			if diff := cmp.Diff([]*event.Exec{&w}, record.All[*event.Exec](got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeExitStatus(t *testing.T) {
	for name, c := range map[string]struct {
		code   int32
		exit   int
		signal string
		core   bool
	}{
		"exit 0":                  {code: 0},
		"exit 127":                {code: 127 << 8, exit: 127},
		"killed":                  {code: 9, signal: "SIGKILL"},
		"killed, with a core":     {code: 11 | 0x80, signal: "SIGSEGV", core: true},
		"the first real-time one": {code: 34, signal: "SIGRTMIN"},
		"a later real-time one":   {code: 64, signal: "SIGRTMIN+30"},
		"one that glibc keeps":    {code: 33, signal: "SIG33"},
	} {
		t.Run(name, func(t *testing.T) {
			x, got := offline(t)
			r := bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Time: 3e9, Start: 1e9, Pid: 5, Code: c.code}
			if !x.Decode(sample(r, "", "", "")) || len(got.Events()) != 1 {
				t.Fatal("rejected")
			}
			e := got.Events()[0].(*event.Exit)
			if e.Code != c.exit || e.Signal != c.signal || e.Core != c.core || e.Duration != 2*time.Second {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A journal decodes records and tells what came of them.
type journal struct {
	*tracer
	t   *testing.T
	got *record.Recorder
}

func newJournal(t *testing.T) *journal {
	x, got := offline(t)
	return &journal{x, t, got}
}

func (j *journal) feed(records ...[]byte) {
	j.t.Helper()
	for _, r := range records {
		if !j.Decode(r) {
			j.t.Fatal("rejected")
		}
	}
}

// rows are the events so far, as "exec 7 /bin/a [a 1]".
func (j *journal) rows() (rows []string) {
	for _, e := range j.got.Events() {
		switch e := e.(type) {
		case *event.Exec:
			rows = append(rows, fmt.Sprint("exec ", e.PID, " ", e.Exe, e.Args))
		case *event.Exit:
			rows = append(rows, fmt.Sprint("exit ", e.PID, " ", e.Exe, e.Args))
		case *event.ExecFailed:
			rows = append(rows, fmt.Sprint(e.Error, " ", e.Exe))
		}
	}
	return rows
}

func TestHistoryOfProcesses(t *testing.T) {
	j := newJournal(t)
	program := func(pid uint32, start uint64, name string, flags bpf.ExecFlag) []byte {
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: pid, Start: start, Flags: uint32(flags)}, name+"\x00", "", name+"\x001\x00")
	}
	fork := func(pid, parent uint32, start uint64) []byte {
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventForked, Pid: pid, Ppid: parent, Start: start}, "", "", "")
	}
	end := func(pid uint32, start uint64, flags bpf.ExecFlag) []byte {
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: pid, Start: start, Flags: uint32(flags)}, "", "", "")
	}
	j.feed(program(2, 100, "a", 0), fork(3, 2, 200), fork(4, 3, 300), program(4, 300, "b", 0),
		end(2, 100, 0), end(3, 200, 0), end(4, 300, 0))
	// The id of another process, whose start was lost.
	j.feed(program(5, 400, "c", 0), end(5, 999, 0))
	// One that nobody wants has a child that somebody does. Its own end is no event.
	j.feed(program(6, 500, "d", bpf.ExecFlagUnwanted), fork(7, 6, 600), end(6, 500, bpf.ExecFlagUnwanted), end(7, 600, 0))
	// A fork whose parent is not known makes nobody's child of what had the id before.
	j.feed(program(8, 700, "e", bpf.ExecFlagUnwanted), fork(8, 99, 800), end(8, 800, 0))
	want := []string{"exec 2 /a[a 1]", "exec 4 /b[b 1]", "exit 2 /a[a 1]", "exit 3 /a[a 1]", "exit 4 /b[b 1]",
		"exec 5 /c[c 1]", "exit 5 []", "exit 7 /d[d 1]", "exit 8 []"}
	if diff := cmp.Diff(want, j.rows()); diff != "" {
		t.Error(diff)
	}
	if len(j.history.lives) != 0 || j.history.text != 0 {
		t.Errorf("%d processes, %d bytes stay", len(j.history.lives), j.history.text)
	}
}

// A start that was lost, or that failed when there was no way back, leaves no false history.
func TestHistoryKnowsThatAProcessBecameAnotherProgramUnseen(t *testing.T) {
	record := func(kind bpf.ExecEvent, pid, parent, id uint32) []byte {
		return sample(bpf.ExecExecRecord{Type: kind, Pid: pid, Ppid: parent, ExecId: id}, "a\x00", "", "a\x00")
	}
	j := newJournal(t)
	j.feed(record(bpf.ExecEventStarted, 2, 1, 5), record(bpf.ExecEventForked, 3, 2, 5), record(bpf.ExecEventForked, 4, 2, 5), record(bpf.ExecEventForked, 5, 2, 6),
		record(bpf.ExecEventEnded, 2, 1, 6), record(bpf.ExecEventEnded, 3, 2, 5), record(bpf.ExecEventEnded, 4, 2, 6), record(bpf.ExecEventEnded, 5, 2, 6))
	if diff := cmp.Diff([]string{"exec 2 /a[a]", "exit 2 []", "exit 3 /a[a]", "exit 4 []", "exit 5 []"}, j.rows()); diff != "" {
		t.Error(diff)
	}
}

func TestArgumentsOfAnExitAreMarkedAsCutWithThoseOfItsExec(t *testing.T) {
	j := newJournal(t)
	j.feed(sample(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: 2, Flags: uint32(bpf.ExecFlagArgsCut)}, "a\x00", "", "a\x00b"),
		sample(bpf.ExecExecRecord{Type: bpf.ExecEventForked, Pid: 3, Ppid: 2}, "", "", ""),
		sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 3}, "", "", ""))
	if exits := record.All[*event.Exit](j.got); len(exits) != 1 || !exits[0].ArgsTruncated {
		t.Errorf("%+v", exits)
	}
}

// While the look at older processes is not done, whose parent is not known yet asks for it.
func TestHistoryAsksForParentsThatItHasNotComeTo(t *testing.T) {
	self := uint32(os.Getpid())
	stat, err := proc.Dir("/proc").Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	here := fmt.Sprint("exit 7 ", exe, os.Args)
	long := kernel.Now() + uint64(time.Hour) // after whatever is read
	fork := bpf.ExecExecRecord{Type: bpf.ExecEventForked, Pid: 7, Ppid: self, Comm: comm(stat.Comm)}
	for name, c := range map[string]struct {
		over    bool // the look is
		records func() [][]byte
		want    []string
	}{
		"its parent is there": {false, func() [][]byte { return [][]byte{sample(fork, "", "", "")} }, []string{here}},
		"its parent has another name now: it may be another program": {false, func() [][]byte {
			r := fork
			r.Comm = comm("another")
			return [][]byte{sample(r, "", "", "")}
		}, []string{"exit 7 []"}},
		"its parent got another name before it was forked": {false, func() [][]byte {
			r := fork
			r.Comm, r.Time = comm("another"), long
			return [][]byte{sample(r, "", "", "")}
		}, []string{here}},
		"its parent had become another program when it was asked": {false, func() [][]byte {
			r := bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: self, Time: 1}
			return [][]byte{sample(fork, "", "", ""), sample(r, "b\x00", "", "b\x00")}
		}, []string{fmt.Sprintf("exec %d /b[b]", self), "exit 7 []"}},
		"its parent became another program afterwards": {false, func() [][]byte {
			r := bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: self, Time: long}
			return [][]byte{sample(fork, "", "", ""), sample(r, "b\x00", "", "b\x00")}
		}, []string{fmt.Sprintf("exec %d /b[b]", self), here}},
		"its parent is gone, it is not": {false, func() [][]byte {
			r := fork
			r.Pid, r.Ppid = self, 1<<22+1
			end := bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: self}
			return [][]byte{sample(r, "", "", ""), sample(end, "", "", "")}
		}, []string{fmt.Sprint("exit ", self, " ", exe, os.Args), "exit 7 []"}},
		"all were looked at": {true, func() [][]byte { return [][]byte{sample(fork, "", "", "")} }, []string{"exit 7 []"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournal(t)
			j.history.dir = "/proc"
			if !c.over {
				j.history.older, j.history.gone = make(chan older), map[uint32]struct{}{}
			}
			j.feed(c.records()...)
			j.feed(sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 7}, "", "", ""))
			if diff := cmp.Diff(c.want, j.rows()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Who has ended before the look at older processes tells of it must not stay: another may
// get the id.
func TestHistoryForgetsWhoEndsBeforeItIsLookedAt(t *testing.T) {
	j := newJournal(t)
	j.history.older, j.history.gone = make(chan older), map[uint32]struct{}{}
	j.feed(sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 7, Start: 1}, "", "", ""))
	j.history.remember(older{7, life{program: event.Program{Exe: "/a"}}}, true)
	j.history.remember(older{8, life{program: event.Program{Exe: "/b"}}}, true)
	j.history.remember(older{}, false)
	j.feed(sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 7, Start: 2}, "", "", ""),
		sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 8, Start: 3}, "", "", ""))
	if diff := cmp.Diff([]string{"exit 7 []", "exit 7 []", "exit 8 /b[]"}, j.rows()); diff != "" {
		t.Error(diff)
	}
}

func TestWalkThroughPath(t *testing.T) {
	const ms = uint64(time.Millisecond)
	const enoent, eacces, enoexec = -2, -13, -8
	// A walk's attempts have arguments x, y. PATH is in the first of the environment.
	try := func(tid uint32, at uint64, code int32, file, path string, args string) []byte {
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventExecFailed, Pid: tid, Tid: tid, Time: at, Code: code}, file+"\x00", path, args)
	}
	attempt := func(tid uint32, at uint64, code int32, file string) []byte {
		return try(tid, at, code, file, "/a:/b/:/c:/c:\x00", "x\x00y\x00")
	}
	success := func(tid uint32, at uint64, file, args string) []byte {
		return named(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: tid, Tid: tid, Time: at}, "it\x00", "", file+"\x00", args)
	}
	end := func(pid uint32, at uint64) []byte {
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: pid, Time: at}, "", "", "")
	}
	for name, c := range map[string]struct {
		records [][]byte
		want    []string
	}{
		"attempts in all folders are one": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/b/x"), attempt(1, 3, enoent, "/c/x"), attempt(1, 4, enoent, "/c/x"), attempt(1, 5, enoent, "x")},
			[]string{"ENOENT x"}},
		"one that is forbidden counts more": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, eacces, "/b//x"), attempt(1, 3, enoent, "/c/x")},
			[]string{"EACCES x"}},
		"one that ends the walk counts most": {
			[][]byte{attempt(1, 1, eacces, "/a/x"), attempt(1, 2, enoexec, "/b/x"), success(1, 3, "/bin/sh", "sh\x00/b/x\x00y\x00")},
			[]string{"ENOEXEC x", "exec 1 /it[sh /b/x y]"}},
		"the same walk again is another": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/b/x"), attempt(1, 3, enoent, "/a/x"), attempt(1, 4, enoent, "/b/x")},
			[]string{"ENOENT x", "ENOENT x"}},
		"the same file again is another": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/a/x"), attempt(1, 3, enoent, "/a/x")},
			[]string{"ENOENT /a/x", "ENOENT /a/x", "ENOENT /a/x"}},
		"folders in another order than PATH's are no walk": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/c/x"), attempt(1, 3, enoent, "/b/x")},
			[]string{"ENOENT /a/x", "ENOENT /c/x", "ENOENT /b/x"}},
		"folders that are not in PATH are no walk": {
			[][]byte{attempt(1, 1, enoent, "/opt/1/x"), attempt(1, 2, enoent, "/opt/2/x")},
			[]string{"ENOENT /opt/1/x", "ENOENT /opt/2/x"}},
		"neither is what does not begin with the first": {
			[][]byte{attempt(1, 1, enoent, "/b/x"), attempt(1, 2, enoent, "/c/x")},
			[]string{"ENOENT /b/x", "ENOENT /c/x"}},
		"without PATH the C library's folders count": {
			[][]byte{try(1, 1, enoent, "/bin/x", "", "x\x00"), try(1, 2, enoent, "/usr/bin/x", "", "x\x00"), try(2, 3, enoent, "/usr/local/bin/x", "", "x\x00"), try(2, 4, enoent, "/bin/x", "", "x\x00")},
			[]string{"ENOENT x", "ENOENT x"}},
		"a PATH that is cut ends before its last folder": {
			[][]byte{sample(bpf.ExecExecRecord{Type: bpf.ExecEventExecFailed, Tid: 1, Code: enoent, Flags: uint32(bpf.ExecFlagCwdCut)}, "/a/x\x00", "/a:/b\x00", "x\x00"), attempt(1, 2, enoent, "/b/x")},
			[]string{"ENOENT /a/x", "ENOENT /b/x"}},
		"success takes the misses with it": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/b/x"), success(1, 3, "/c/x", "x\x00y\x00")},
			[]string{"exec 1 /it[x y]"}},
		"of a script, too": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(1, 3, "/b/x", "sh\x00-e\x00/b/x\x00y\x00")},
			[]string{"exec 1 /it[sh -e /b/x y]"}},
		"success of something else does not": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(1, 3, "/b/fallback", "x\x00y\x00")},
			[]string{"ENOENT /a/x", "exec 1 /it[x y]"}},
		"nor of the same name elsewhere": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(1, 3, "/c/x", "x\x00y\x00")},
			[]string{"ENOENT /a/x", "exec 1 /it[x y]"}},
		"nor with other arguments": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(1, 3, "/b/x", "x\x00z\x00")},
			[]string{"ENOENT /a/x", "exec 1 /it[x z]"}},
		"nor of another thread": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(2, 3, "/b/x", "x\x00y\x00")},
			[]string{"ENOENT /a/x", "exec 2 /it[x y]"}},
		"two threads are two walks": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(2, 2, enoent, "/a/x"), attempt(2, 3, enoent, "/b/x"), attempt(1, 4, enoent, "/b/x")},
			[]string{"ENOENT x", "ENOENT x"}},
		"another name is another command": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/b/z")}, []string{"ENOENT /a/x", "ENOENT /b/z"}},
		"other arguments are another command": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), try(1, 2, enoent, "/b/x", "/a:/b\x00", "x\x00z\x00")}, []string{"ENOENT /a/x", "ENOENT /b/x"}},
		"much later is another command": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 1000*ms, enoent, "/b/x")}, []string{"ENOENT /a/x", "ENOENT /b/x"}},
		"what others do meanwhile comes after it": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(2, 2, "/bin/y", "y\x00"), attempt(1, 3, enoent, "/b/x"), end(2, 4), attempt(3, 5, enoexec, "/q"), end(1, 6)},
			[]string{"ENOENT x", "exec 2 /it[y]", "exit 2 /it[y]", "ENOEXEC /q", "exit 1 []"}},
		"and is not held up by what is over": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(2, 2, "/bin/y", "y\x00"), attempt(3, 3, enoent, "/a/x"), success(1, 4, "/b/x", "x\x00y\x00"), end(2, 5), success(3, 6, "/b/x", "x\x00y\x00")},
			[]string{"exec 2 /it[y]", "exec 1 /it[x y]", "exit 2 /it[y]", "exec 3 /it[x y]"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournal(t)
			j.feed(c.records...)
			if j.End(); len(j.walks.open) > 0 || len(j.walks.queue) > 0 {
				t.Error("something still waits")
			}
			if diff := cmp.Diff(c.want, j.rows()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What cannot be a part of a walk is told at once, and so is a walk at its last folder.
func TestFailuresDoNotWaitWithoutNeed(t *testing.T) {
	failed := func(code int32, file, path string) []byte {
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventExecFailed, Pid: 1, Tid: 1, Code: code}, file+"\x00", path, "x\x00")
	}
	j := newJournal(t)
	j.feed(failed(-2, "/opt/x", "/a:/b\x00"), failed(-8, "/a/x", ""), failed(-2, "/a/x", "/a\x00"), failed(-2, "/a/x", "/a:/b\x00"), failed(-2, "/b/x", "/a:/b\x00"))
	if diff := cmp.Diff([]string{"ENOENT /opt/x", "ENOEXEC /a/x", "ENOENT /a/x", "ENOENT x"}, j.rows()); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeExecFailed(t *testing.T) {
	for name, c := range map[string]struct {
		exe, cwd, args string
		flags          bpf.ExecFlag
		want           string
		program        string // of the process from now on
	}{
		"a usual one":                {"./a\x00", "", "a\x00b\x00", 0, `./a ["a" "b"] cut false`, "/old[]"},
		"no arguments at all":        {"./a\x00", "", "", 0, `./a [] cut false`, "/old[]"},
		"arguments that are cut":     {"./a\x00", "", "a\x00b", bpf.ExecFlagArgsCut, `./a ["a" "b"] cut true`, "/old[]"},
		"a path that is cut":         {"/aaa\x00", "", "a\x00", bpf.ExecFlagExeCut, `/aaa… ["a"] cut true`, "/old[]"},
		"nothing that can be read":   {"", "", "", bpf.ExecFlagArgsUnreadable, ` [] cut true`, "/old[]"},
		"a file below an open one":   {"a/b\x00d\x00c\x00", "", "a\x00", bpf.ExecFlagExePacked, `/c/d/a/b ["a"] cut false`, "/old[]"},
		"when the old one was gone":  {"./a\x00", "a\x00c\x00", "a\x00b\x00", bpf.ExecFlagOldGone, `./a ["a" "b"] cut false`, "/c/a[a b]"},
		"and nobody knew what began": {"a\x00c\x00", "", "", bpf.ExecFlagOldGone | bpf.ExecFlagExePacked | bpf.ExecFlagArgsUnreadable, `/c/a [] cut true`, "/c/a[]"},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournal(t)
			j.history.keep(7, life{program: event.Program{Exe: "/old"}})
			j.feed(sample(bpf.ExecExecRecord{Type: bpf.ExecEventExecFailed, Pid: 7, Tid: 7, Code: -14, Flags: uint32(c.flags)}, c.exe, c.cwd, c.args),
				sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 7}, "", "", ""))
			failed := record.All[*event.ExecFailed](j.got)
			if len(failed) != 1 {
				t.Fatalf("%d failures", len(failed))
			}
			f := failed[0]
			if diff := cmp.Diff(c.want, fmt.Sprintf("%s %q cut %v", f.Exe, f.Args, f.ArgsTruncated)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff("exit 7 "+c.program, j.rows()[1]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A record is decoded or rejected; never does it end the program, and what it
// claims beyond its end is not read.
func FuzzDecodeExec(f *testing.F) {
	for typ := range bpf.ExecEvent(6) {
		f.Add(sample(bpf.ExecExecRecord{Type: typ, Pid: 1, Tid: 1, Comm: comm("a")}, "b\x00a\x00", "c\x00", "x\x00y\x00"))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		x, got := offline(t)
		// Samples lie at multiples of eight.
		aligned := make([]uint64, len(data)/8+1)
		b := unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), len(aligned)*8)[:len(data):len(data)]
		copy(b, data)
		ok := x.Decode(b)
		x.End()
		n := len(got.Events())
		if !ok && n > 0 || n > 1 {
			t.Fatalf("accepted %v, %d events", ok, n)
		}
		for _, e := range record.All[*event.Exec](got) {
			if len(e.Exe)+len(e.Cwd) > len(data)+16 {
				t.Fatalf("%d bytes gave paths of %d", len(data), len(e.Exe)+len(e.Cwd))
			}
			_ = event.AppendJSON(nil, e)
		}
	})
}

var recordAnew = flag.Bool("record", false, "record testdata/samples anew, as root, and what they decode to")

// sampler keeps the records that its tracer decodes.
type sampler struct {
	tracer
	samples []byte // each behind its length, four bytes
}

func (s *sampler) Decode(record []byte) bool {
	s.samples = binary.LittleEndian.AppendUint32(s.samples, uint32(len(record)))
	s.samples = append(s.samples, record...)
	return s.tracer.Decode(record)
}

const samples = "../../testdata/samples/exec.bin"

// recordSamples traces a few commands and writes their records down.
func recordSamples(t *testing.T) {
	s := &sampler{tracer: tracer{exits: true, failed: true}}
	r := record.OpenTracer(t, Probe, s, session.Options{Filter: itself})
	for _, script := range []string{"exit 3", "kill -9 $$", "env nosuch; /nonexistent/x 'an arg' ''; true", `printf '\033[31m%s' "$0" >/dev/null; cd /tmp; exec env -i printenv`} {
		cmd := exec.Command("/bin/sh", "-c", script, "ü\x1b]0;x\x07\xff")
		cmd.Dir, cmd.Env = "/usr/lib", []string{"PATH=/usr/local/bin:/usr/bin:/bin"} // records have it
		_ = cmd.Run()
	}
	r.Stop()
	if err := os.WriteFile(samples, s.samples, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a kernel really sent, through decode and every format.
func TestRecordedSamplesDecodeToTheGoldenFiles(t *testing.T) {
	if kit.Emulated() {
		t.Skip("this kernel's machine has no golden files")
	}
	if *recordAnew {
		recordSamples(t)
	}
	b, err := os.ReadFile(samples)
	if err != nil {
		t.Fatal(err)
	}
	x, got := offline(t)
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b)
		words := make([]uint64, n/8+1) // aligned, as the reader has them
		aligned := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
		copy(aligned, b[4:4+n])
		if !x.Decode(aligned) {
			t.Fatal("a recorded sample was rejected")
		}
		b = b[4+n:]
	}
	x.End()
	for file, format := range map[string]render.Format{
		"../../testdata/golden/exec-samples.jsonl": render.JSON{},
		"../../testdata/golden/exec-samples.txt":   render.NewTable(render.TableOptions{Columns: render.Defaults(render.Views["exec"].Columns)}),
	} {
		var text []byte
		for _, e := range got.Events() {
			text = format.AppendEvent(text, e)
		}
		if *recordAnew {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(text)); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}
