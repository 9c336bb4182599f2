package render

import (
	"strings"
	"testing"

	"tracer/trace/event"
)

func TestCheckFitsItsTerminal(t *testing.T) {
	good := &event.Check{
		Kernel: "6.12.1", Arch: "amd64", BTF: "/sys/kernel/btf/vmlinux", Lockdown: "integrity", Buffer: "ring",
		Cgroups: "hybrid", Runtimes: []string{"containerd", "docker"},
		Commands: []event.CheckedCommand{{Name: "conn", Features: []event.CheckedFeature{
			{Name: "connections", Hooks: "tracepoint"},
			{Name: "accepts", Hooks: "tracepoint", Misses: "what 32-bit programs accept; it costs some time at every system call of the host", Remedy: "a kernel that lets functions be hooked"},
			{Name: "connections older than tracing", Misses: "they stay unknown: this kernel cannot list them", Remedy: "a newer kernel"},
			{Name: "UDP", Hooks: "fentry"},
			{Name: "what others do", Hooks: "tracepoint"},
		}}},
	}
	bad := &event.Check{
		Kernel: "5.4.0", Arch: "arm64", Buffer: "perf",
		Missing:  []event.Capability{{Name: "CAP_BPF", Needed: true, For: "load programs"}, {Name: "CAP_SYS_PTRACE", For: "tell what older processes run"}},
		Grant:    "run it with sudo",
		Warnings: []string{"this is a pid namespace of its own: processes are reported by the host's ids"},
		Commands: []event.CheckedCommand{
			{Name: "exec", Error: "this kernel does not describe its types (no /sys/kernel/btf/vmlinux): pass a BTF file made for exactly this kernel with --btf FILE"},
			{Name: "http", Error: "this kernel does not describe its types (no /sys/kernel/btf/vmlinux): pass a BTF file made for exactly this kernel with --btf FILE"},
			{Name: "conn", Error: "a stranger's \x1b[31mtext\nin two lines"},
		},
	}
	for _, width := range []int{0, 60, 80} {
		var b []byte
		for _, c := range []*event.Check{good, bad} {
			b = append(AppendCheck(b, c, width), "--\n"...)
		}
		name := map[int]string{0: "check-pipe.txt", 60: "check-60.txt", 80: "check-80.txt"}[width]
		checkGolden(t, name, b)
		checkLines(t, b, width)
		if strings.Contains(string(b), "\x1b") {
			t.Errorf("%q", b)
		}
	}
	if !good.OK() || bad.OK() {
		t.Error("OK is for those that can run")
	}
}
