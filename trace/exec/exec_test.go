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

// offline is a tracer without a kernel.
func offline(t *testing.T) (*tracer, *record.Recorder) {
	r := record.New(t)
	x := &tracer{exits: true, failed: true, history: map[uint32]life{}, walks: map[uint32]*walk{}}
	x.host = session.Offline(x, session.Options{}, r)
	x.walkTimer = x.host.Timer(func() {})
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

func TestHistoryOfProcesses(t *testing.T) {
	x, got := offline(t)
	feed := func(r bpf.ExecExecRecord, exe, args string) {
		t.Helper()
		if !x.Decode(sample(r, exe, "", args)) {
			t.Fatal("rejected")
		}
	}
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: 2, Start: 100}, "a\x00", "a\x001\x00")
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventForked, Pid: 3, Ppid: 2, Start: 200}, "", "")
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventForked, Pid: 4, Ppid: 3, Start: 300}, "", "")
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: 4, Start: 300}, "b\x00", "b\x00")
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 2, Start: 100}, "", "")
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 3, Start: 200}, "", "")
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 4, Start: 300}, "", "")
	// The id of another process, whose start was lost.
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: 5, Start: 400}, "c\x00", "c\x00")
	feed(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: 5, Start: 999}, "", "")
	var ran []string
	for _, e := range record.All[*event.Exit](got) {
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
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventExecFailed, Pid: tid, Tid: tid, Time: at, Code: code}, file+"\x00", "", "x\x00y\x00")
	}
	success := func(tid uint32, at uint64, name string) []byte {
		return sample(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: tid, Tid: tid, Time: at, Comm: comm(name[:min(15, len(name))])}, name+"\x00", "", "x\x00")
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
			x, got := offline(t)
			for _, r := range c.records {
				if !x.Decode(r) {
					t.Fatal("rejected")
				}
			}
			if x.End(); len(x.walks) > 0 {
				t.Error("something still waits")
			}
			var failed []string
			for _, e := range record.All[*event.ExecFailed](got) {
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
		cmd.Dir = "/usr/lib"
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
