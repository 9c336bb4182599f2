package kernel_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/trace"
	"tracer/trace/event"
)

// What each kernel can is in README's table, which kernels.sh holds against what check says on each.
func TestKernelCheckTellsWhatCanBeTraced(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	check := func(status int, cmd *exec.Cmd) (c event.Check, ok bool) {
		t.Helper()
		out, err := cmd.Output()
		if status >= 0 && cmd.ProcessState.ExitCode() != status {
			t.Fatalf("exit status %d, want %d: %v, %s", cmd.ProcessState.ExitCode(), status, err, out)
		}
		var v struct {
			Event    string
			OK       bool
			Kernel   string
			BTF      string
			Missing  []struct{ Name string } `json:"missing_capabilities"`
			Commands []struct {
				Command  string
				OK       bool
				Error    string
				Remedy   string
				Features []struct{ Feature, Hooks, Misses string }
			}
		}
		if err := json.Unmarshal(out, &v); err != nil || v.Event != "check" {
			t.Fatalf("%v: %s", err, out)
		}
		c = event.Check{Kernel: v.Kernel, BTF: v.BTF}
		for _, m := range v.Missing {
			c.Missing = append(c.Missing, event.Capability{Name: m.Name})
		}
		for _, command := range v.Commands {
			checked := event.CheckedCommand{Name: command.Command, Error: command.Error, Remedy: command.Remedy}
			for _, f := range command.Features {
				checked.Features = append(checked.Features, event.CheckedFeature{Name: f.Feature, Hooks: f.Hooks, Misses: f.Misses})
			}
			c.Commands = append(c.Commands, checked)
		}
		return c, v.OK
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	c, ok := check(0, kit.Command(t, "check", "--json"))
	if !ok || c.Kernel != unix.ByteSliceToString(u.Release[:]) || c.BTF == "" || len(c.Missing) != 0 || len(c.Commands) != len(trace.Single()) {
		t.Errorf("as root: ok %t, %+v", ok, c)
	}
	for _, command := range c.Commands {
		if command.Error != "" || len(command.Features) == 0 {
			t.Errorf("%s: %+v", command.Name, command)
		}
		for _, f := range command.Features {
			if f.Hooks == "" {
				t.Errorf("%s: %+v", command.Name, f)
			}
		}
	}
	// What is said is what sessions do: with one kind of hook only, too.
	// Before 6.3 tracepoints tell little of what sockets carry.
	c, _ = check(-1, kit.Command(t, "check", "--json", "--tier", "tracepoint"))
	said := false
	for _, command := range c.Commands {
		said = said || command.Error != ""
		for _, f := range command.Features {
			said = said || f.Misses != ""
			if strings.HasPrefix(f.Hooks, "uprobe") {
				continue // of libraries, not of the kernel
			}
			if f.Hooks != "tracepoint" && (f.Hooks != "" || f.Misses == "") {
				t.Errorf("tracepoints alone: %s: %+v", command.Name, f)
			}
		}
	}
	if !said {
		t.Error("tracepoints alone: not a word of what is missed")
	}
	// Somebody else may look, and is told what is missing.
	cmd := kit.Command(t, "check", "--json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c, ok = check(1, cmd)
	if ok || len(c.Missing) != 4 || c.Missing[0].Name != "CAP_BPF" {
		t.Errorf("as nobody: ok %t, missing %+v", ok, c.Missing)
	}
	for _, command := range c.Commands {
		if !strings.Contains(command.Error, "CAP_BPF") || !strings.Contains(command.Remedy, "sudo") || !strings.Contains(command.Remedy, "setcap cap_bpf,cap_perfmon=ep /") {
			t.Errorf("as nobody: %s: %q, %q", command.Name, command.Error, command.Remedy)
		}
	}
}

func TestLockdownIsNamed(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	locked := func(args ...string) (string, int) {
		cmd := kit.Workload(t, "locked", append([]string{kit.Binary(t)}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return kit.Output(cmd)
	}
	if out, status := locked("check"); status != 0 || !strings.Contains(out, ", lockdown confidentiality\n") {
		t.Errorf("status %d: %s", status, out)
	}
	// Where functions cannot be hooked the kernel says what it says when locked down.
	if out, status := locked("http", "--tier", "fentry", "-d", "1ms"); status != 0 && !strings.Contains(out, "the kernel is locked down (confidentiality), which forbids reading kernel memory\ntracer: hint: boot with lockdown=integrity or none") {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestKernelNamespacesOfOnesOwnAreTold(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	in := func(attr *syscall.SysProcAttr, args ...string) (string, int) {
		cmd := kit.Command(t, args...)
		cmd.SysProcAttr = attr
		return kit.Output(cmd)
	}
	ids := []syscall.SysProcIDMap{{Size: 1}} // root to root
	user := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	for _, args := range [][]string{{"check"}, {"exec", "-d", "1ms"}} {
		if out, status := in(user, args...); status != 1 || !strings.Contains(out, "tracing needs CAP_BPF to load programs and CAP_PERFMON") || !strings.Contains(out, "run it outside; what this user namespace gives") {
			t.Errorf("%v in a user namespace: status %d: %s", args, status, out)
		}
	}
	pid := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	for _, args := range [][]string{{"check"}, {"exec", "-d", "1ms"}} {
		if out, status := in(pid, args...); status != 0 || !strings.Contains(out, "this is a pid namespace of its own") || strings.Contains(out, "left out; --self") {
			t.Errorf("%v in a pid namespace: status %d: %s", args, status, out)
		}
	}
	if out, status := in(pid, "exec", "--", "/proc/self/exe"); status != 1 || !strings.Contains(out, "follow the command: this is a pid namespace of its own") {
		t.Errorf("a command in a pid namespace: status %d: %s", status, out)
	}
}
