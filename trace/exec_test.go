package trace

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/render"
	"tracer/trace/command"
	"tracer/trace/event"
	"tracer/trace/proc"
)

// TestMain lets the test binary be a command that was started to be traced.
func TestMain(m *testing.M) {
	command.Become()
	becomeRunc()
	time.Local = time.UTC // golden files show local time
	kept = &library{types: btf.NewCache(), objects: map[string]*ebpf.CollectionSpec{}}
	os.Exit(m.Run())
}

// collector is a Sink that keeps what it is shown.
type collector struct {
	t      *testing.T
	execs  []event.Exec
	exits  []event.Exit
	failed []event.ExecFailed
	seen   func() // called for each event
}

func (c *collector) Event(e event.Event) bool {
	switch e := e.(type) {
	case *event.Exec:
		c.execs = append(c.execs, *e)
	case *event.Exit:
		c.exits = append(c.exits, *e)
	case *event.ExecFailed:
		c.failed = append(c.failed, *e)
	default:
		c.t.Errorf("unknown event %T", e)
	}
	if c.seen != nil {
		c.seen()
	}
	return true
}

func (c *collector) Flush() error            { return nil }
func (c *collector) Broken() <-chan struct{} { return nil }
func (c *collector) Close() (uint64, error)  { return 0, nil }

// needRoot is for tests that trace for real.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

func TestKernelExecLossIsCountedExactly(t *testing.T) { buffersOf(t, testExecLoss) }

func testExecLoss(t *testing.T, buffer Buffer) {
	needRoot(t)
	const n = 331
	c := &collector{t: t}
	s, err := Open(&execTracer{exits: true}, Options{
		Filter:    Filter{PIDs: []uint32{uint32(os.Getpid())}},
		Buffer:    buffer,
		ringBytes: 4096, // a handful of records
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// Nobody reads while the storm goes on.
	for i := range n {
		if err := exec.Command("/bin/true", strconv.Itoa(i)).Run(); err != nil {
			t.Fatal(err)
		}
	}
	a := runEnded(t, s, c)
	// Each makes an exec and an exit; Go may fork one more process to learn
	// what the kernel can.
	made := uint64(2 * n)
	if a.Lost == 0 || a.Shown == 0 || a.Shown+a.Lost != made && a.Shown+a.Lost != made+1 {
		t.Errorf("made %d: %+v", made, a)
	}
	if a.LostBy["ring_full"] != a.Lost || a.Shown != uint64(len(c.execs)+len(c.exits)) {
		t.Errorf("read %d: %+v", len(c.execs)+len(c.exits), a)
	}
	if a.Incomplete == 0 {
		t.Errorf("forks were lost without a word: %+v", a)
	}
}

func TestKernelFollowingTooManyIsCounted(t *testing.T) {
	needRoot(t)
	s, err := Open(&execTracer{}, Options{
		Filter:     Filter{PIDs: []uint32{uint32(os.Getpid())}},
		maxFollows: 1, // this process alone
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 13
	for range n {
		if err := exec.Command("/bin/true").Run(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &collector{t: t}
	if err := s.Run(ctx, c); err != nil {
		t.Fatal(err)
	}
	a, err := s.Account()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.execs) != 0 || a.LostBy["map_full"] < n {
		t.Errorf("%d events: %+v", len(c.execs), a)
	}
}

func TestKernelNothingStaysInTheKernel(t *testing.T) {
	needRoot(t)
	before := ownObjects(t)
	s, err := Open(&execTracer{exits: true, failed: true}, Options{Filter: Filter{PIDs: []uint32{1}}})
	if err != nil {
		t.Fatal(err)
	}
	if during := ownObjects(t); during <= before {
		t.Fatalf("%d objects before, %d while tracing", before, during)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, &collector{t: t}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if after := ownObjects(t); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
}

// ownObjects counts this process's descriptors of programs, maps and links.
func ownObjects(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		switch to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to {
		case "anon_inode:bpf-prog", "anon_inode:bpf-map", "anon_inode:bpf_link", "anon_inode:bpf-link", "anon_inode:bpf-stats":
			n++
		}
	}
	return n
}

// record builds a record as the kernel sends it.
func record(r bpf.ExecExecRecord, exe, cwd, args string) []byte {
	r.ExeLen, r.CwdLen, r.ArgsLen = uint32(len(exe)), uint32(len(cwd)), uint32(len(args))
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	return append(append(append(append([]byte(nil), b...), exe...), cwd...), args...)
}

func comm(name string) (c [16]int8) {
	for i := range len(name) {
		c[i] = int8(name[i])
	}
	return c
}

// offline is a session without a kernel.
func offline(t *testing.T) (*Session, *collector) {
	c := &collector{t: t}
	return &Session{
		sink:  c,
		clock: &clock{},
		users: proc.NewUsers("/nonexistent"),
		stats: newStats(),
		comms: map[[16]int8]string{},
	}, c
}

func TestDecodeExec(t *testing.T) {
	base := bpf.ExecExecRecord{
		Type: recordExec, Time: 1500, Start: 1000, Cgroup: 77, Pid: 10, Tid: 10, Ppid: 9, Uid: 1000,
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
		flags          uint32
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
		"arguments cut within one": {"a\x00", "", "a\x00bc", argsCut, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args, e.ArgsTruncated = "/a", "/", []string{"a", "bc"}, true
		}},
		"arguments that could not be read": {"a\x00", "", "", argsUnreadable, func(e *event.Exec) {
			e.Exe, e.Cwd, e.ArgsTruncated = "/a", "/", true
		}},
		"paths that are too deep": {"b\x00a\x00", "d\x00c\x00", "b\x00", exeCut | cwdCut, func(e *event.Exec) {
			e.Exe, e.Cwd, e.Args = "…/a/b", "…/c/d", []string{"b"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, got := offline(t)
			r := base
			r.Flags = c.flags
			if !(&execTracer{}).decode(s, record(r, c.exe, c.cwd, c.args)) {
				t.Fatal("rejected")
			}
			w := want
			c.want(&w)
			if diff := cmp.Diff([]event.Exec{w}, got.execs); diff != "" {
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
			s, got := offline(t)
			r := bpf.ExecExecRecord{Type: recordExit, Time: 3e9, Start: 1e9, Pid: 5, Code: c.code}
			if !(&execTracer{}).decode(s, record(r, "", "", "")) || len(got.exits) != 1 {
				t.Fatal("rejected")
			}
			e := got.exits[0]
			if e.Code != c.exit || e.Signal != c.signal || e.Core != c.core || e.Duration != 2*time.Second {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestHistoryOfProcesses(t *testing.T) {
	s, got := offline(t)
	x := &execTracer{exits: true, history: map[uint32]life{}, walks: map[uint32]*walk{}}
	feed := func(r bpf.ExecExecRecord, exe, args string) {
		t.Helper()
		if !x.decode(s, record(r, exe, "", args)) {
			t.Fatal("rejected")
		}
	}
	feed(bpf.ExecExecRecord{Type: recordExec, Pid: 2, Start: 100}, "a\x00", "a\x001\x00")
	feed(bpf.ExecExecRecord{Type: recordFork, Pid: 3, Ppid: 2, Start: 200}, "", "")
	feed(bpf.ExecExecRecord{Type: recordFork, Pid: 4, Ppid: 3, Start: 300}, "", "")
	feed(bpf.ExecExecRecord{Type: recordExec, Pid: 4, Start: 300}, "b\x00", "b\x00")
	feed(bpf.ExecExecRecord{Type: recordExit, Pid: 2, Start: 100}, "", "")
	feed(bpf.ExecExecRecord{Type: recordExit, Pid: 3, Start: 200}, "", "")
	feed(bpf.ExecExecRecord{Type: recordExit, Pid: 4, Start: 300}, "", "")
	// The id of another process, whose start was lost.
	feed(bpf.ExecExecRecord{Type: recordExec, Pid: 5, Start: 400}, "c\x00", "c\x00")
	feed(bpf.ExecExecRecord{Type: recordExit, Pid: 5, Start: 999}, "", "")
	var ran []string
	for _, e := range got.exits {
		ran = append(ran, fmt.Sprint(e.PID, e.Exe, e.Args))
	}
	if diff := cmp.Diff([]string{"2/a[a 1]", "3/a[a 1]", "4/b[b]", "5[]"}, ran); diff != "" {
		t.Error(diff)
	}
	if len(x.history) != 0 || x.text != 0 {
		t.Errorf("%d processes, %d bytes stay", len(x.history), x.text)
	}
}

func TestWalkThroughPath(t *testing.T) {
	const ms = uint64(time.Millisecond)
	const enoent, eacces = -2, -13
	attempt := func(tid uint32, at uint64, code int32, file string) []byte {
		return record(bpf.ExecExecRecord{Type: recordFailed, Pid: tid, Tid: tid, Time: at, Code: code}, file+"\x00", "", "x\x00y\x00")
	}
	success := func(tid uint32, at uint64, name string) []byte {
		return record(bpf.ExecExecRecord{Type: recordExec, Pid: tid, Tid: tid, Time: at, Comm: comm(name[:min(15, len(name))])}, name+"\x00", "", "x\x00")
	}
	for name, c := range map[string]struct {
		records [][]byte
		want    []string
	}{
		"attempts in several directories are one": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/b/x"), attempt(1, 3, enoent, "/c/x")},
			[]string{"x ENOENT"}},
		"one that is forbidden counts more": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, eacces, "/b/x"), attempt(1, 3, enoent, "/c/x")},
			[]string{"x EACCES"}},
		"success takes the misses with it": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/b/x"), success(1, 3, "x")}, nil},
		"success under a name longer than a comm": {
			[][]byte{attempt(1, 1, enoent, "/a/averyveryverylongname"), success(1, 3, "averyveryverylongname")}, nil},
		"success of something else does not": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), success(1, 3, "fallback")}, []string{"/a/x ENOENT"}},
		"two threads are two walks": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(2, 2, enoent, "/b/x")}, []string{"/a/x ENOENT", "/b/x ENOENT"}},
		"another name is another command": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 2, enoent, "/a/z")}, []string{"/a/x ENOENT", "/a/z ENOENT"}},
		"much later is another command": {
			[][]byte{attempt(1, 1, enoent, "/a/x"), attempt(1, 1000*ms, enoent, "/b/x")}, []string{"/a/x ENOENT", "/b/x ENOENT"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, got := offline(t)
			x := &execTracer{failed: true, walks: map[uint32]*walk{}}
			for _, r := range c.records {
				if !x.decode(s, r) {
					t.Fatal("rejected")
				}
			}
			x.tick(s, 2, false)
			if x.tick(s, 2000*ms, true); x.waiting() {
				t.Error("something still waits")
			}
			var failed []string
			for _, e := range got.failed {
				failed = append(failed, e.Exe+" "+e.Error)
			}
			if len(failed) == 2 && failed[0] > failed[1] {
				failed[0], failed[1] = failed[1], failed[0]
			}
			if diff := cmp.Diff(c.want, failed); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A record is decoded or rejected; never does it end the program, and what it
// claims beyond its end is not read.
func FuzzDecodeExec(f *testing.F) {
	for typ := uint32(0); typ < 6; typ++ {
		f.Add(record(bpf.ExecExecRecord{Type: typ, Pid: 1, Tid: 1, Comm: comm("a")}, "b\x00a\x00", "c\x00", "x\x00y\x00"))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, got := offline(t)
		x := &execTracer{exits: true, failed: true, history: map[uint32]life{}, walks: map[uint32]*walk{}}
		// Samples lie at multiples of eight.
		aligned := make([]uint64, len(data)/8+1)
		b := unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), len(aligned)*8)[:len(data):len(data)]
		copy(b, data)
		ok := x.decode(s, b)
		x.tick(s, 0, true)
		n := len(got.execs) + len(got.exits) + len(got.failed)
		if !ok && n > 0 || n > 1 {
			t.Fatalf("accepted %v, %d events", ok, n)
		}
		for _, e := range got.execs {
			if len(e.Exe)+len(e.Cwd) > len(data)+16 {
				t.Fatalf("%d bytes gave paths of %d", len(data), len(e.Exe)+len(e.Cwd))
			}
			_ = event.AppendJSON(nil, &e)
		}
	})
}

var recordAnew = flag.Bool("record", false, "record testdata/samples anew, as root, and what they decode to")

// recorder keeps the records that its tracer decodes.
type recorder struct {
	execTracer
	samples []byte // each behind its length, four bytes
}

func (r *recorder) decode(s *Session, record []byte) bool {
	r.samples = binary.LittleEndian.AppendUint32(r.samples, uint32(len(record)))
	r.samples = append(r.samples, record...)
	return r.execTracer.decode(s, record)
}

const samples = "../testdata/samples/exec.bin"

// recordSamples traces a few commands and writes their records down.
func recordSamples(t *testing.T) {
	needRoot(t)
	r := &recorder{execTracer: execTracer{exits: true, failed: true}}
	s, err := Open(r, Options{Filter: Filter{PIDs: []uint32{uint32(os.Getpid())}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, script := range []string{"exit 3", "kill -9 $$", "env nosuch; /nonexistent/x 'an arg' ''; true", `printf '\033[31m%s' "$0" >/dev/null; cd /tmp; exec env -i printenv`} {
		cmd := exec.Command("/bin/sh", "-c", script, "ü\x1b]0;x\x07\xff")
		cmd.Dir = "/usr/lib"
		_ = cmd.Run()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Run(ctx, &collector{t: t}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(samples, r.samples, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a kernel really sent, through decode and every format.
func TestRecordedSamplesDecodeToTheGoldenFiles(t *testing.T) {
	if os.Getenv("TRACER_VM") != "" {
		t.Skip("this kernel's machine has no golden files")
	}
	if *recordAnew {
		recordSamples(t)
	}
	b, err := os.ReadFile(samples)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := offline(t)
	lines := formats{render.JSON{}, render.NewTable(render.TableOptions{Columns: render.Defaults(render.Views["exec"].Columns)})}
	out := &formatted{formats: lines}
	s.sink = out
	x := &execTracer{exits: true, failed: true, history: map[uint32]life{}, walks: map[uint32]*walk{}}
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b)
		sample := make([]uint64, n/8+1) // aligned, as the reader has them
		aligned := unsafe.Slice((*byte)(unsafe.Pointer(&sample[0])), n)
		copy(aligned, b[4:4+n])
		if !x.decode(s, aligned) {
			t.Fatal("a recorded sample was rejected")
		}
		b = b[4+n:]
	}
	x.tick(s, 0, true)
	for i, file := range []string{"../testdata/golden/exec-samples.jsonl", "../testdata/golden/exec-samples.txt"} {
		if *recordAnew {
			if err := os.WriteFile(file, out.text[i], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(out.text[i])); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

type formats [2]render.Format

// formatted is a Sink that formats events in two ways.
type formatted struct {
	collector
	formats formats
	text    [2][]byte
}

func (f *formatted) Event(e event.Event) bool {
	for i := range f.formats {
		f.text[i] = f.formats[i].AppendEvent(f.text[i], e)
	}
	return true
}
