package attach

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/trace/kernel/confine"
)

// inChild names the test that a copy of the test binary runs: what is given up
// there is not given up here.
const inChild = "TRACER_TEST_IN_CHILD"

func TestMain(m *testing.M) {
	Become()
	os.Exit(m.Run())
}

// child runs the test in a process of its own and reports whether that is
// another one.
func child(t *testing.T, args ...string) bool {
	t.Helper()
	if os.Getenv(inChild) == t.Name() {
		return false
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"-test.run=^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$", "-test.v"}, args...)...)
	cmd.Env = append(os.Environ(), inChild+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("%v\n%s", err, out)
	}
	return true
}

// needRoot is for tests that attach for real.
func needRoot(t *testing.T) {
	t.Helper()
	kit.Needs(t, kit.EveryKernel)
	// Before 5.11 maps count against this limit.
	_ = rlimit.RemoveMemlock()
}

// methods are the ways in which this kernel attaches.
func methods(t *testing.T) map[string]bool {
	t.Helper()
	have, err := HaveMulti()
	if err != nil {
		t.Fatal(err)
	}
	if !have {
		return map[string]bool{"perf": false}
	}
	return map[string]bool{"perf": false, "multi": true}
}

// A counter is a program that counts its runs: on return those in which the
// function has returned its result.
type counter struct {
	Program
	hits *ebpf.Map
}

const result = 0x5eed

func newCounter(t *testing.T, multi, onReturn bool) *counter {
	t.Helper()
	hits, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hits.Close() })
	// Where struct pt_regs has what a function returns: ax, or regs[0].
	returnRegister := map[string]int16{"amd64": 80, "arm64": 0}[runtime.GOARCH]
	spec := &ebpf.ProgramSpec{
		Type:          ebpf.Kprobe,
		License:       "GPL",
		KernelVersion: AnyKernel,
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R1, asm.R1, returnRegister, asm.DWord),
			asm.JNE.Imm(asm.R1, result, "out"),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, hits.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	}
	if !onReturn {
		spec.Instructions = spec.Instructions[2:]
	}
	if multi {
		spec.AttachType = ebpf.AttachTraceUprobeMulti
	}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &counter{Program{Program: p, Return: onReturn, Multi: multi}, hits}
}

// count is how often the program ran since it was asked last.
func (c *counter) count(t *testing.T) (n uint64) {
	t.Helper()
	values := make([]uint64, ebpf.MustPossibleCPU())
	if err := c.hits.Lookup(uint32(0), values); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		n += v
	}
	if err := c.hits.Put(uint32(0), make([]uint64, len(values))); err != nil {
		t.Fatal(err)
	}
	return n
}

// A library is a file with functions that this process has mapped. They return
// result.
type library struct {
	file      *os.File
	functions []func()
	offsets   []uint64
}

// newLibrary makes a file that was not there before.
func newLibrary(t *testing.T, functions int) *library {
	t.Helper()
	code := map[string][]byte{
		// push %rbp; pop %rbp; mov $0x5eed,%eax; ret
		"amd64": {0x55, 0x5d, 0xb8, 0xed, 0x5e, 0, 0, 0xc3},
		// nop; mov w0, #0x5eed; ret
		"arm64": {0x1f, 0x20, 0x03, 0xd5, 0xa0, 0xdd, 0x8b, 0x52, 0xc0, 0x03, 0x5f, 0xd6},
	}[runtime.GOARCH]
	const apart = 64
	text := make([]byte, 4096)
	for i := range functions {
		copy(text[i*apart:], code)
	}
	path := filepath.Join(t.TempDir(), "lib.so")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	mem, err := unix.Mmap(int(f.Fd()), 0, len(text), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	l := &library{file: f}
	for i := range functions {
		// A func is a pointer to where its code's address lies.
		address := &[]uintptr{uintptr(unsafe.Pointer(&mem[i*apart]))}[0]
		l.functions = append(l.functions, *(*func())(unsafe.Pointer(&address)))
		l.offsets = append(l.offsets, uint64(i*apart))
	}
	return l
}

const calls = 1009

func (l *library) call(function int) {
	for range calls {
		l.functions[function]()
	}
}

// startAttacher starts an attaching process for these counters.
func startAttacher(t *testing.T, counters ...*counter) *Attacher {
	t.Helper()
	var programs []Program
	for _, c := range counters {
		programs = append(programs, c.Program)
	}
	a, err := Start(programs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestKernelAttachedAfterPrivilegesAreDropped(t *testing.T) {
	needRoot(t)
	for name, multi := range methods(t) {
		t.Run(name, func(t *testing.T) {
			if child(t) {
				return
			}
			entry, ret := newCounter(t, multi, false), newCounter(t, multi, true)
			a := startAttacher(t, entry, ret)
			var keep uint64
			if mapsNeedPrivilege(entry.hits) {
				keep = 1 << unix.CAP_BPF // to read what was counted
			}
			if err := confine.Confine(keep, confine.Reader()); err != nil {
				t.Fatal(err)
			}
			l := newLibrary(t, 3) // which appears only now
			expect := func(when string, atEntry, atReturn uint64) {
				t.Helper()
				if got, want := [2]uint64{entry.count(t), ret.count(t)}, [2]uint64{atEntry, atReturn}; got != want {
					t.Errorf("%s: %d hits at entry and return, want %d", when, got, want)
				}
			}
			attach := func(program, pid int, offsets ...uint64) *Link {
				t.Helper()
				link, err := a.Attach(program, l.file, pid, offsets...)
				if err != nil {
					t.Fatal(err)
				}
				return link
			}
			l.call(0)
			expect("before", 0, 0)

			atEntry := attach(0, 0, l.offsets[0])
			l.call(0)
			expect("at entry", calls, 0)
			l.call(1)
			expect("another function", 0, 0)

			atReturn := attach(1, 0, l.offsets[0])
			l.call(0)
			expect("at both", calls, calls)

			if err := atEntry.Close(); err != nil {
				t.Error(err)
			}
			l.call(0)
			expect("detached at entry", 0, calls)
			if err := atReturn.Close(); err != nil {
				t.Error(err)
			}
			l.call(0)
			expect("detached at both", 0, 0)

			both := attach(0, 0, l.offsets[1:]...)
			for i := range l.functions {
				l.call(i)
			}
			expect("two functions by one link", 2*calls, 0)
			if err := both.Close(); err != nil {
				t.Error(err)
			}

			own, others := attach(0, os.Getpid(), l.offsets[0]), attach(1, a.PID(), l.offsets[1])
			l.call(0)
			l.call(1)
			expect("of one process only", calls, 0)
			// Links outlive the process that made them.
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			l.call(0)
			l.call(1)
			expect("attached by one that has ended", calls, 0)
			if _, err := a.Attach(0, l.file, 0, l.offsets[0]); !errors.Is(err, ErrEnded) {
				t.Errorf("attach by one that has ended: %v", err)
			}
			runtime.KeepAlive(own)
			runtime.KeepAlive(others)
		})
	}
}

func TestKernelAttachingProcessKeepsWhatItNeeds(t *testing.T) {
	needRoot(t)
	for name, multi := range methods(t) {
		t.Run(name, func(t *testing.T) {
			a := startAttacher(t, newCounter(t, multi, false))
			keeps := "0000000000000000"
			if !multi {
				keeps = fmt.Sprintf("%016x", 1<<unix.CAP_SYS_ADMIN)
			}
			want := map[string]string{"CapInh": "0000000000000000", "CapPrm": keeps, "CapEff": keeps, "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
			threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", a.PID()))
			if err != nil || len(threads) == 0 {
				t.Fatal(threads, err)
			}
			for _, thread := range threads {
				status, err := os.ReadFile(thread)
				if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
					continue // it has ended
				}
				if err != nil {
					t.Fatal(err)
				}
				got := map[string]string{}
				for line := range strings.Lines(string(status)) {
					if name, value, _ := strings.Cut(line, ":"); want[name] != "" {
						got[name] = strings.TrimSpace(value)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s", thread, diff)
				}
			}
		})
	}
}

// Descriptors that the process which traces has inherited itself are not passed
// on to the one that attaches.
func TestKernelAttachingProcessHoldsNothingElse(t *testing.T) {
	needRoot(t)
	stray, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	if _, err := unix.FcntlInt(stray.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	a := startAttacher(t, newCounter(t, false, false))
	dir := fmt.Sprintf("/proc/%d/fd", a.PID())
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		known := false
		// Links are those by which it has tried what it can do.
		for _, prefix := range []string{"/dev/null", "socket:", "anon_inode:bpf-prog", "anon_inode:bpf_link", "anon_inode:[perf_event]", "anon_inode:[eventpoll]", "anon_inode:[eventfd]", "/sys/fs/cgroup/"} {
			known = known || strings.HasPrefix(target, prefix)
		}
		if !known {
			t.Errorf("%s is %s", entry.Name(), target)
		}
	}
}

// The same state as the attaching process's, entered by one that then tries what
// it must not be able to do.
func TestKernelAttachingProcessCanDoNothingElse(t *testing.T) {
	needRoot(t)
	for name, multi := range methods(t) {
		t.Run(name, func(t *testing.T) {
			if child(t) {
				return
			}
			k, p := kind(0), newCounter(t, multi, false)
			if multi {
				k = kindMulti
			}
			open, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			null, err := unix.FcntlInt(open.Fd(), unix.F_DUPFD_CLOEXEC, socket+1) // what the socket's number is may be used
			if err != nil {
				t.Fatal(err)
			}
			s := &server{programs: []int{p.FD()}, kinds: []kind{k}}
			if err := s.confine(); err != nil {
				t.Fatal(err)
			}
			zero := make([]byte, 128)
			address := uintptr(unsafe.Pointer(&zero[0]))
			call := func(number uintptr, args ...uintptr) func() error {
				return func() error {
					var a [6]uintptr
					copy(a[:], args)
					if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
						return errno
					}
					return nil
				}
			}
			tries := map[string]func() error{
				"execve":   func() error { return unix.Exec("/proc/self/exe", []string{"x", "-test.run=^$"}, nil) },
				"fork":     call(unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
				"ptrace":   func() error { return unix.PtraceAttach(1 << 30) },
				"kill":     func() error { return unix.Kill(1<<30, 0) },
				"signal":   func() error { return unix.Tgkill(os.Getppid(), os.Getppid(), 0) },
				"mount":    func() error { return unix.Mount("none", "/nonexistent", "tmpfs", 0, "") },
				"fsopen":   call(unix.SYS_FSOPEN),
				"umount":   func() error { return unix.Unmount("/nonexistent", 0) },
				"setns":    func() error { return unix.Setns(-1, 0) },
				"unshare":  func() error { return unix.Unshare(1) },
				"chroot":   func() error { return unix.Chroot("/nonexistent") },
				"chdir":    func() error { return unix.Chdir("/") },
				"setuid":   call(unix.SYS_SETUID),
				"setgid":   call(unix.SYS_SETGID),
				"capset":   call(unix.SYS_CAPSET, address),
				"prctl":    call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1),
				"seccomp":  call(unix.SYS_SECCOMP),
				"socket":   func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); return err },
				"connect":  call(unix.SYS_CONNECT, socket),
				"sendto":   call(unix.SYS_SENDTO, uintptr(null)),
				"io_uring": call(unix.SYS_IO_URING_SETUP, 1, address),
				"pidfd":    func() error { _, err := unix.PidfdOpen(os.Getppid(), 0); return err },
				"getdents": func() error { _, err := unix.Getdents(null, zero); return err },
				"readlink": func() error { _, err := unix.Readlink("/proc/self/exe", zero); return err },
				"stat":     func() error { return unix.Stat("/", &unix.Stat_t{}) },
				"sysinfo":  func() error { return unix.Sysinfo(&unix.Sysinfo_t{}) },
				"kexec":    call(unix.SYS_KEXEC_LOAD),
				"module":   func() error { return unix.InitModule(nil, "") },
				"keyctl":   call(unix.SYS_KEYCTL),
				"reboot":   call(unix.SYS_REBOOT),
				"pwrite":   call(unix.SYS_PWRITE64, uintptr(null)),
				"open to read": func() error {
					_, err := os.Open("/etc/passwd")
					return err
				},
				"open to write": func() error {
					_, err := os.Create("/proc/self/oom_score_adj")
					return err
				},
				"openat2":                  call(unix.SYS_OPENAT2),
				"open a file by handle":    call(unix.SYS_OPEN_BY_HANDLE_AT),
				"make memory executable":   func() error { return unix.Mprotect(zero[:0], unix.PROT_EXEC) },
				"map executable memory":    call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON, ^uintptr(0), 0),
				"read another's memory":    call(unix.SYS_PROCESS_VM_READV),
				"another ioctl":            call(unix.SYS_IOCTL, uintptr(null), unix.TCGETS, address),
				"change a perf event":      call(unix.SYS_IOCTL, uintptr(null), unix.PERF_EVENT_IOC_SET_FILTER, address),
				"a perf event in a group":  call(unix.SYS_PERF_EVENT_OPEN, address, 0, 0, 0, unix.PERF_FLAG_FD_CLOEXEC),
				"a perf event of a cgroup": call(unix.SYS_PERF_EVENT_OPEN, address, 0, 0, ^uintptr(0), unix.PERF_FLAG_PID_CGROUP|unix.PERF_FLAG_FD_CLOEXEC),
			}
			for name, command := range map[string]uintptr{
				"make a map": unix.BPF_MAP_CREATE, "look up": unix.BPF_MAP_LOOKUP_ELEM, "change a map": unix.BPF_MAP_UPDATE_ELEM,
				"load a program": unix.BPF_PROG_LOAD, "pin": unix.BPF_OBJ_PIN, "open a pinned object": unix.BPF_OBJ_GET,
				"attach to a cgroup": unix.BPF_PROG_ATTACH, "run": unix.BPF_PROG_TEST_RUN, "get another's program": unix.BPF_PROG_GET_FD_BY_ID,
				"get another's map": unix.BPF_MAP_GET_FD_BY_ID, "attach to a tracepoint": unix.BPF_RAW_TRACEPOINT_OPEN,
				"load types": unix.BPF_BTF_LOAD, "change a link": unix.BPF_LINK_UPDATE, "get another's link": unix.BPF_LINK_GET_FD_BY_ID,
				"detach another's": unix.BPF_LINK_DETACH,
			} {
				tries["bpf: "+name] = call(unix.SYS_BPF, command, address, uintptr(len(zero)))
			}
			if multi {
				tries["perf_event_open"] = call(unix.SYS_PERF_EVENT_OPEN, address, 0, 0, ^uintptr(0), unix.PERF_FLAG_FD_CLOEXEC)
			} else {
				tries["bpf: make a link"] = call(unix.SYS_BPF, unix.BPF_LINK_CREATE, address, uintptr(len(zero)))
			}
			for name, try := range tries {
				if err := try(); !errors.Is(err, unix.EPERM) {
					t.Errorf("%s: %v, want EPERM", name, err)
				}
			}
			// Whether a descriptor is open does not matter to a filter: its number does.
			for fd := uintptr(socket + 1); fd < 512; fd++ {
				for name, number := range map[string]uintptr{"recvmsg": unix.SYS_RECVMSG, "sendmsg": unix.SYS_SENDMSG} {
					if err := call(number, fd, address)(); !errors.Is(err, unix.EPERM) {
						t.Errorf("%s on %d: %v, want EPERM", name, fd, err)
					}
				}
			}
			if err := call(unix.SYS_CLONE3)(); !errors.Is(err, unix.ENOSYS) {
				t.Errorf("clone3: %v, want ENOSYS", err)
			}
			// A link of a kind that its program is not for is refused by the kernel.
			if multi {
				for _, attachType := range []uint32{unix.BPF_PERF_EVENT, unix.BPF_TRACE_KPROBE_MULTI, unix.BPF_CGROUP_INET_EGRESS} {
					attr := linkCreate{program: uint32(p.FD()), attachType: attachType}
					if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); errno == 0 {
						t.Errorf("a link of type %d was made", attachType)
					}
				}
			}
			busy(t)
		})
	}
}

// busy does what the runtime does in a long life: threads come and go, memory is
// taken and given back, timers and preemption. If a system call that it needs is
// refused, it dies.
func busy(t *testing.T) {
	t.Helper()
	runtime.GOMAXPROCS(4)
	var done sync.WaitGroup
	for range 16 {
		done.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends
			keep := [][]byte{}
			for i := range 100 {
				keep = append(keep, make([]byte, 1<<16))
				if i%10 == 0 {
					keep = nil
					time.Sleep(time.Millisecond)
				}
			}
			runtime.KeepAlive(keep)
			begin := time.Now()
			for time.Since(begin) < 20*time.Millisecond { // long enough to be preempted
			}
			defer func() { _ = recover() }()
			var none *int
			_ = *none
		})
	}
	done.Wait()
	for range 3 {
		runtime.GC()
	}
}

func TestKernelAttachingProcessIgnoresSignalsOfATerminal(t *testing.T) {
	needRoot(t)
	c := newCounter(t, false, false)
	a := startAttacher(t, c)
	for _, s := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE} {
		if err := unix.Kill(a.PID(), s); err != nil {
			t.Fatal(err)
		}
	}
	if session, err := unix.Getsid(a.PID()); err != nil || session != a.PID() {
		t.Errorf("session %d, %v: not its own", session, err)
	}
	l := newLibrary(t, 1)
	link, err := a.Attach(0, l.file, 0, l.offsets[0])
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	l.call(0)
	if n := c.count(t); n != calls {
		t.Errorf("%d hits, want %d", n, calls)
	}
}

func TestKernelAttachingProcessEndsWithTheTracer(t *testing.T) {
	needRoot(t)
	if os.Getenv(inChild) != "" {
		a := startAttacher(t, newCounter(t, false, false))
		fmt.Printf("\nattaching process %d.\n", a.PID())
		select {} // until it is killed
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inChild+"="+t.Name())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(out, "\nattaching process %d.\n", &pid); err != nil {
		t.Fatal(err)
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	fds := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 10000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Errorf("process %d has not ended: %v", pid, err)
		}
		return
	}
}

// Whatever is asked for is answered, and the next request is served.
func TestKernelGarbageIsRefused(t *testing.T) {
	needRoot(t)
	c := newCounter(t, false, false)
	a := startAttacher(t, c)
	l := newLibrary(t, 1)
	file := int(l.file.Fd())
	dir, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	good := request{offsets: l.offsets}.append(nil)
	many := make([]int, 200)
	for i := range many {
		many[i] = file
	}
	for name, g := range map[string]struct {
		message []byte
		fds     []int
		want    unix.Errno
	}{
		"one byte":                {[]byte{1}, []int{file}, unix.EINVAL},
		"no offset":               {good[:requestHead], []int{file}, unix.EINVAL},
		"half an offset":          {good[:requestHead+4], []int{file}, unix.EINVAL},
		"an unknown program":      {request{program: 1, offsets: l.offsets}.append(nil), []int{file}, unix.EINVAL},
		"the last program":        {request{program: 1<<32 - 1, offsets: l.offsets}.append(nil), []int{file}, unix.EINVAL},
		"a negative pid":          {request{pid: 1 << 31, offsets: l.offsets}.append(nil), []int{file}, unix.EINVAL},
		"no process":              {request{pid: 1 << 30, offsets: l.offsets}.append(nil), []int{file}, unix.ESRCH},
		"no file":                 {good, nil, unix.EINVAL},
		"two files":               {good, []int{file, file}, unix.EINVAL},
		"200 files":               {good, many, unix.EMSGSIZE},
		"a folder":                {good, []int{int(dir.Fd())}, unix.EINVAL},
		"behind the file's end":   {request{offsets: []uint64{1 << 40}}.append(nil), []int{file}, unix.EINVAL},
		"a negative offset":       {request{offsets: []uint64{1 << 63}}.append(nil), []int{file}, unix.EINVAL},
		"too many offsets":        {request{offsets: make([]uint64, maxOffsets+1)}.append(nil), []int{file}, unix.EMSGSIZE},
		"64 KiB":                  {make([]byte, 1<<16), nil, unix.EMSGSIZE},
		"a bad one behind a good": {request{offsets: []uint64{0, 1 << 40}}.append(nil), []int{file}, unix.EINVAL},
		"the programs once more":  {make([]byte, 16), []int{c.FD()}, unix.EINVAL},
	} {
		if got, err := a.ask(g.message, g.fds); !errors.Is(err, g.want) {
			t.Errorf("%s: %v, want %v", name, err, g.want)
			closeAll(got)
		}
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.PID()))
	if err != nil || len(open) > 10 {
		t.Errorf("%d files are open afterwards, %v", len(open), err)
	}
	if _, err := a.Attach(0, l.file, 0, make([]uint64, maxOffsets+1)...); err == nil {
		t.Error("too many offsets: attached")
	}
	link, err := a.Attach(0, l.file, 0, l.offsets[0])
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	l.call(0)
	if n := c.count(t); n != calls {
		t.Errorf("%d hits, want %d", n, calls)
	}
}

func TestKernelManyAskAtTheSameTime(t *testing.T) {
	needRoot(t)
	for name, multi := range methods(t) {
		t.Run(name, func(t *testing.T) {
			const n = 7
			var counters []*counter
			for range n {
				counters = append(counters, newCounter(t, multi, false))
			}
			a, l := startAttacher(t, counters...), newLibrary(t, n)
			links, errs := make([]*Link, n), make([]error, n)
			var done sync.WaitGroup
			for i := range n {
				done.Go(func() { links[i], errs[i] = a.Attach(i, l.file, 0, l.offsets[i]) })
			}
			done.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			for i, c := range counters {
				for range i + 1 {
					l.functions[i]()
				}
				if got := c.count(t); got != uint64(i+1) {
					t.Errorf("function %d: %d hits, want %d", i, got, i+1)
				}
			}
			for _, link := range links {
				link.Close()
			}
		})
	}
}

// What tracing takes is enough: a user who has no more than the capabilities of
// the file that is run. Perf events take CAP_SYS_ADMIN.
func TestKernelAttachesWithFewCapabilities(t *testing.T) {
	if os.Getenv(inChild) != "" {
		multi := strings.HasSuffix(os.Getenv(inChild), "multi")
		c := newCounter(t, multi, false)
		a, l := startAttacher(t, c), newLibrary(t, 1)
		if err := confine.Confine(1<<unix.CAP_BPF, confine.Reader()); err != nil {
			t.Fatal(err)
		}
		link, err := a.Attach(0, l.file, 0, l.offsets[0])
		if err != nil {
			t.Fatal(err)
		}
		l.call(0)
		if n := c.count(t); n != calls {
			t.Errorf("%d hits, want %d", n, calls)
		}
		link.Close()
		return
	}
	needRoot(t)
	// A folder that others can enter, unlike the test's own.
	dir, err := os.MkdirTemp("", "attach")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "attach.test")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, multi := range methods(t) {
		// CAP_SYS_RESOURCE: before 5.11 maps are locked memory.
		set := uint64(1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_RESOURCE)
		if !multi {
			set |= 1 << unix.CAP_SYS_ADMIN
		}
		// A file cannot give what this process may not have.
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var have [2]unix.CapUserData
		if err := unix.Capget(&hdr, &have[0]); err != nil {
			t.Fatal(err)
		}
		set &= uint64(have[0].Permitted) | uint64(have[1].Permitted)<<32
		// struct vfs_cap_data of include/uapi/linux/capability.h: revision 2, effective.
		value := []byte{1, 0, 0, 2}
		for _, half := range []uint32{uint32(set), uint32(set >> 32)} {
			value = binary.LittleEndian.AppendUint32(value, half)
			value = binary.LittleEndian.AppendUint32(value, 0) // inheritable: none
		}
		if err := unix.Setxattr(path, "security.capability", value, 0); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), inChild+"="+name)
		cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Start says what is wrong, and leaves nothing behind.
func TestKernelStartFails(t *testing.T) {
	needRoot(t)
	if _, err := Start(nil); err == nil {
		t.Error("no programs: started")
	}
	if child(t) {
		return
	}
	c := newCounter(t, false, false)
	// What has no privileges cannot leave any to another.
	if err := confine.Confine(0, confine.Reader()); err != nil {
		t.Fatal(err)
	}
	if _, err := Start([]Program{c.Program}); !errors.Is(err, unix.EPERM) {
		t.Errorf("without privileges: %v", err)
	}
}

func TestRequestsAreReadAsWritten(t *testing.T) {
	many := request{program: 63, pid: 1<<31 - 1}
	for i := range uint64(maxOffsets) {
		many.offsets = append(many.offsets, 1<<62|i)
	}
	for _, r := range []request{{offsets: []uint64{0}}, {1, 2, []uint64{3, 4}}, many} {
		got, err := parseRequest(r.append(nil))
		if diff := cmp.Diff(r, got, cmp.AllowUnexported(request{})); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
}

func TestAnswersAreReadAsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		text string
	}{
		"an errno":           {unix.ENOENT, "no such file or directory"},
		"an errno with what": {fmt.Errorf("open: %w", unix.ENOENT), "open: no such file or directory"},
		"an errno within":    {fmt.Errorf("%w when opened", unix.ENOENT), "no such file or directory when opened: no such file or directory"},
		"another error":      {errors.New("bad"), "bad: invalid argument"},
		"a long one":         {errors.New(strings.Repeat("x", 1000)), strings.Repeat("x", maxAnswer-4) + "invalid argument"},
	} {
		b := appendAnswer(nil, c.err)
		if got := parseAnswer(b); len(b) > maxAnswer || got == nil || got.Error() != c.text {
			t.Errorf("%s: %v, want %q", name, got, c.text)
		}
	}
	if err := parseAnswer(appendAnswer(nil, nil)); err != nil {
		t.Error(err)
	}
}

// What is accepted means one thing: written again, it is the same bytes.
func FuzzRequest(f *testing.F) {
	f.Add(request{1, 2, []uint64{3}}.append(nil))
	f.Add(make([]byte, maxRequest+8))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if slices.ContainsFunc(r.offsets, func(o uint64) bool { return o > math.MaxInt64 }) || len(r.offsets) == 0 || len(r.offsets) > maxOffsets || int32(r.pid) < 0 {
			t.Errorf("%+v", r)
		}
		if got := r.append(nil); !bytes.Equal(got, b) {
			t.Errorf("%x became %x", b, got)
		}
	})
}

// A library that appears while tracing goes on is attached to by an Attacher
// that was started before privileges were dropped.
func ExampleStart() {
	var onRead, onReadReturn *ebpf.Program // loaded, with ebpf.AttachTraceUprobeMulti if HaveMulti
	multi, err := HaveMulti()
	if err != nil {
		return
	}
	a, err := Start([]Program{
		{Program: onRead, Multi: multi},
		{Program: onReadReturn, Multi: multi, Return: true},
	})
	if err != nil {
		return
	}
	defer a.Close()
	if err := confine.Confine(1<<unix.CAP_DAC_READ_SEARCH, confine.Reader()); err != nil {
		return
	}
	// Any time later:
	file, err := os.Open("/proc/" + strconv.Itoa(4711) + "/map_files/7f0000000000-7f0000001000")
	if err != nil {
		return
	}
	defer file.Close()
	links := map[uint64]*Link{}
	for program := range 2 {
		if link, err := a.Attach(program, file, 0, 0x1234); err == nil {
			links[uint64(program)] = link
		}
	}
}

// mapsNeedPrivilege reports whether an open map can be read only with a capability:
// before 5.19 that takes CAP_BPF.
func mapsNeedPrivilege(m *ebpf.Map) bool {
	err := confine.Try(0, func() error {
		return m.Lookup(uint32(0), make([]uint64, ebpf.MustPossibleCPU()))
	})
	return errors.Is(err, unix.EPERM)
}
