package kernel_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tracer/testdata/kit"
	"tracer/trace"
)

func TestKernelTypesFromAFile(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	copied := kit.CopyFile(t, "/sys/kernel/btf/vmlinux")
	// hidden runs tracer where the kernel does not describe its types.
	hidden := func(args ...string) (string, int) {
		cmd := kit.Workload(t, "hidden", append([]string{kit.Binary(t)}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return kit.Output(cmd)
	}
	for _, p := range trace.Probes {
		out, status := hidden(p.Name, "-d", "10ms")
		if status != 1 || !strings.Contains(out, "this kernel has no /sys/kernel/btf/vmlinux\ntracer: hint: pass a BTF file made for exactly this kernel with --btf FILE") {
			t.Errorf("%s without types: status %d: %s", p.Name, status, out)
		}
	}
	for _, command := range []struct {
		args []string
		want string // on stderr, a regular expression
	}{
		{[]string{"exec", "--exits"}, "2 events seen, 2 shown, 0 lost"},
		{[]string{"exec", "--container", "none"}, "filtered out: .* by --container, --pod or --namespace"}, // the objects place and follow, too; a busy machine has more to leave out
		{[]string{"conn"}, "0 events seen, 0 shown, 0 lost"},
	} {
		args := append(slices.Clone(command.args), "--btf", copied, "--", kit.WorkloadBinary(t), "nothing")
		if out, status := hidden(args...); status != 0 || !regexp.MustCompile(command.want).MatchString(out) {
			t.Errorf("%v: status %d: %s", args, status, out)
		}
	}
	// The kernel itself has no iterators then; and not every one has kprobes.
	if out, status := hidden("traffic", "--btf", copied, "-d", "10ms"); status != 1 || !strings.Contains(out, "tracer: hint: use a kernel that is built with CONFIG_DEBUG_INFO_BTF") {
		t.Errorf("traffic: status %d: %s", status, out)
	}
	out, status := hidden("http", "--btf", copied, "--", kit.WorkloadBinary(t), "web")
	if _, failed := kit.Output(kit.Command(t, "check", "--tier", "kprobe")); failed == 0 {
		if status != 0 || !strings.Contains(out, "3 events seen, 3 shown, 0 lost") {
			t.Errorf("http by kprobes: status %d: %s", status, out)
		}
	} else if status != 1 || !strings.Contains(out, "CONFIG_DEBUG_INFO_BTF") {
		t.Errorf("http: status %d: %s", status, out)
	}
	// Where the kernel describes its types another description is suspicious.
	types, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, append(types, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{copied: false, other: true} {
		cmd := kit.Command(t, "exec", "--btf", file, "-d", "1ms")
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "differs from this kernel's own types") != want {
			t.Errorf("--btf %s: %v: %s", file, err, out)
		}
	}
	// What is no BTF is told as well.
	if out, status := hidden("exec", "--btf", "/proc/self/exe"); status != 1 || !strings.Contains(out, `read BTF from "/proc/self/exe"`) {
		t.Errorf("status %d: %s", status, out)
	}
}
