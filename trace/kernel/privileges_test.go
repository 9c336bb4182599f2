package kernel_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/trace"
	"tracer/trace/session"
)

func TestKernelPrivilegesAreDroppedWhileTracing(t *testing.T) {
	kit.Needs(t, kit.NewestKernel)
	for _, p := range trace.Probes {
		t.Run(p.Name, func(t *testing.T) {
			r := kit.Start(t, p.Name, "--", "sleep", "100")
			var more uint64
			if p.Name == "http" || p.Name == "all" {
				more = 1 << unix.CAP_CHECKPOINT_RESTORE // to open TLS libraries that were deleted
			}
			checkDropped(t, r, true, more)
			if err := r.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r.Wait(128 + 15)
		})
	}
	r := kit.Start(t, "exec")
	checkDropped(t, r, false, 0)
	// It still traces, and says what it cost.
	r.Until(kit.Started(kit.Launch(t, kit.Workload(t, "nothing"))))
	if end := r.Stop(); end["lost"] != 0.0 {
		t.Errorf("account: %v", end)
	}
}

// checkDropped looks at what each thread of a process that traces may do: what all
// probes need while they trace, and more.
func checkDropped(t *testing.T, r *kit.Tracer, command bool, more uint64) {
	t.Helper()
	keeps := 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_PTRACE | more
	if command {
		keeps |= 1 << unix.CAP_KILL
	}
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if major < 5 || major == 5 && minor < 19 {
		keeps |= 1 << unix.CAP_BPF // to read a map
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.PID))
	if err != nil || len(threads) < 2 {
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
		value := map[string]string{}
		for line := range strings.Lines(string(status)) {
			name, v, _ := strings.Cut(line, ":")
			value[name] = strings.TrimSpace(v)
		}
		have, err := strconv.ParseUint(value["CapEff"], 16, 64)
		if err != nil || have != keeps || value["CapPrm"] != value["CapEff"] || value["NoNewPrivs"] != "1" || value["Seccomp"] != "2" {
			t.Errorf("%s: CapEff %s, CapPrm %s, NoNewPrivs %s, Seccomp %s", thread, value["CapEff"], value["CapPrm"], value["NoNewPrivs"], value["Seccomp"])
		}
	}
}

// withCapabilities is tracer as a file of its own that has these capabilities,
// run by a user who has none.
func withCapabilities(t *testing.T, capabilities ...int) *exec.Cmd {
	t.Helper()
	cmd := kit.Command(t)
	cmd.Path = kit.CopyFile(t, cmd.Path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var set uint64
	for _, c := range capabilities {
		set |= 1 << c
	}
	// struct vfs_cap_data of include/uapi/linux/capability.h: revision 2, effective.
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	for _, half := range []uint32{uint32(set), uint32(set >> 32)} {
		b = binary.LittleEndian.AppendUint32(b, half)
		b = binary.LittleEndian.AppendUint32(b, 0) // inheritable: none
	}
	if err := unix.Setxattr(cmd.Path, "security.capability", b, 0); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// What README says is enough is: with just these capabilities, each command sees
// all that there is to see.
func TestKernelCapabilitiesAreEnough(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	enough := []int{unix.CAP_BPF, unix.CAP_PERFMON}
	cmd := withCapabilities(t, enough...)
	cmd.Args = append(cmd.Args, "exec", "-d", "1ms")
	if out, err := cmd.CombinedOutput(); err != nil {
		// Before 5.11 maps are locked memory.
		if !strings.Contains(string(out), "give it CAP_SYS_RESOURCE too") {
			t.Fatalf("%v: %s", err, out)
		}
		enough = append(enough, unix.CAP_SYS_RESOURCE)
	}
	workload := kit.CopyFile(t, kit.WorkloadBinary(t))
	run := func(p *session.Probe, buffer string) {
		t.Run(p.Name+" "+buffer, func(t *testing.T) {
			enough := slices.Clone(enough)
			if level, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid"); err == nil && buffer == "perf" && strings.TrimSpace(string(level)) > "2" {
				// Debian's own level.
				cmd := withCapabilities(t, enough...)
				cmd.Args = append(cmd.Args, p.Name, "--buffer", buffer, "-d", "1ms")
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "perf buffers need CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2") {
					t.Fatalf("%v: %s", err, out)
				}
				enough = append(enough, unix.CAP_SYS_ADMIN)
			}
			cmd := withCapabilities(t, enough...)
			cmd.Args = append(cmd.Args, p.Name, "--json", "--buffer", buffer, "--", "env", workload, "web")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if p.Name == "http" && strings.Contains(errs.String(), "this kernel") {
				t.Fatalf("%s", errs.String())
			}
			if err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			got := map[string]int{}
			for line := range strings.Lines(string(out)) {
				var e map[string]any
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				got[e["event"].(string)]++
				for _, key := range []string{"tx_bytes", "rx_bytes"} {
					if n, ok := e[key].(float64); ok && e["proto"] == "udp" {
						got[key] += int(n)
					}
				}
			}
			want := map[string]map[string]int{
				"exec":    {"exec": 2}, // env, and what it becomes
				"conn":    {"connect": 1, "accept": 1, "close": 2},
				"traffic": nil,
				"http":    {"http": 3},
				"all":     {"exec": 2, "exit": 1, "connect": 1, "accept": 1, "close": 2, "http": 3},
			}[p.Name]
			if p.Name != "traffic" {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s%s", diff, errs.String())
				}
			} else if got["traffic"] == 0 {
				t.Errorf("no traffic: %s", errs.String())
			}
			said := errs.String()
			if kit.Emulated() {
				// What is missed where programs are preempted, which is
				// told, is no matter of privileges.
				said = regexp.MustCompile(`"lost_by":{"program_missed":\d+}`).ReplaceAllString(said, "")
			}
			if strings.Contains(said, `"lost_by"`) || strings.Contains(said, "privileges are kept") {
				t.Error(errs.String())
			}
		})
	}
	for i := range trace.Probes {
		run(&trace.Probes[i], "ring")
		if trace.Probes[i].Name == "http" { // which has the largest buffers: they count as locked memory
			run(&trace.Probes[i], "perf")
		}
	}
	// One less is not enough, and which one it is, is said.
	for i, name := range []string{"CAP_BPF", "CAP_PERFMON"} {
		cmd := withCapabilities(t, enough[1-i])
		cmd.Args = append(cmd.Args, "exec")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "tracing needs "+name+" to") || !strings.Contains(string(out), "setcap cap_bpf,cap_perfmon=ep ") {
			t.Errorf("without %s: status %d: %s", name, cmd.ProcessState.ExitCode(), out)
		}
	}
}

// The process that traces is confined for good, hence one of its own.
func TestKernelConfinedProcessCannotDoHarm(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	if os.Getenv("TRACER_TEST_CONFINED") != "" {
		confined(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestKernelConfinedProcessCannotDoHarm$")
	cmd.Env = append(os.Environ(), "TRACER_TEST_CONFINED=1")
	if out, status := kit.Output(cmd); status != 0 {
		t.Errorf("status %d: %s", status, out)
	}
}

func confined(t *testing.T) {
	s, err := session.Open([]session.Tracer{trace.Probes[0].New()}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, 128)
	// None of them does anything: they fail in another way before.
	tries := map[string]func() error{
		"execve":          func() error { return unix.Exec("/nonexistent", []string{"x"}, nil) },
		"ptrace":          func() error { return unix.PtraceAttach(1 << 30) },
		"mount":           func() error { return unix.Mount("none", "/nonexistent", "tmpfs", 0, "") },
		"perf_event_open": func() error { _, err := unix.PerfEventOpen(&unix.PerfEventAttr{}, -2, -2, -1, 0); return err },
		"setns":           func() error { return unix.Setns(-1, 0) },
		"unshare":         func() error { return unix.Unshare(1) },
		"chroot":          func() error { return unix.Chroot("/nonexistent") },
		"init_module":     func() error { return unix.InitModule(nil, "") },
		"process_vm_readv": func() error {
			_, err := unix.ProcessVMReadv(1<<30, nil, nil, 1)
			return err
		},
	}
	for name, command := range map[string]uintptr{"make a map": 0, "load a program": 5, "open a pinned object": 7, "attach": 8, "run": 10,
		"get another's program": 13, "get another's map": 14, "attach to a tracepoint": 17, "load types": 18, "make a link": 28, "change a link": 29} {
		tries["bpf: "+name] = func() error {
			_, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&zero[0])), uintptr(len(zero)))
			return errno
		}
	}
	for name, try := range tries {
		if err := try(); err == nil || errors.Is(err, unix.EPERM) {
			t.Errorf("%s, before: %v", name, err)
		}
	}
	// What it still has to do with its maps is not: these have none.
	allowed := map[string]uintptr{"look up": 1, "change": 2, "delete": 3, "walk": 4, "ask about": 15, "take": 21, "look up many": 24, "iterate": 33}
	s.Confine()
	for _, n := range s.Notices() {
		if strings.Contains(n.Message, "privileges are kept") {
			t.Fatal(n.Message)
		}
	}
	*(*int32)(unsafe.Pointer(&zero[0])) = -1
	for name, command := range allowed {
		if _, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&zero[0])), uintptr(len(zero))); errno == unix.EPERM {
			t.Errorf("bpf: %s: refused", name)
		}
	}
	for name, try := range tries {
		if err := try(); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v, want EPERM", name, err)
		}
	}
	if _, err := s.Account(); err != nil { // which reads a map and asks about programs
		t.Error(err)
	}
}

func TestKernelWithoutPrivilegesSaysWhatIsMissing(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	cmd := kit.Command(t, "exec")
	cmd.Path = kit.CopyFile(t, cmd.Path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "tracing needs CAP_BPF to load programs and CAP_PERFMON to attach programs that read the kernel's memory\ntracer: hint: run it with sudo, or give them to the file: setcap cap_bpf,cap_perfmon=ep "+cmd.Path) {
		t.Errorf("status %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}
