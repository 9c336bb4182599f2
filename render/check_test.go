package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/olekukonko/tablewriter/pkg/twwidth"

	"tracer/trace/event"
)

func TestCheckFitsItsTerminal(t *testing.T) {
	good := &event.Check{
		Kernel: "6.12.1", Arch: "amd64", BTF: "/sys/kernel/btf/vmlinux", Lockdown: "integrity", Buffer: "ring",
		Cgroups: "hybrid", Runtimes: []string{"containerd", "docker"},
		TLS: []event.CheckedTLS{
			{Library: "openssl", Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3", Processes: 12},
			{Library: "gnutls", Path: "/usr/lib/x86_64-linux-gnu/libgnutls.so.30"},
			{Path: "/usr/lib/jvm/\x1b[31mjava/lib/server/libjvm.so", Processes: 1, Why: "java"},
		},
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
			{Name: "conn", Error: "a stranger's \x1b[31mtext\nin two lines, in 日本語のコマンド and e\u0301\u0301tc 👍🏻👍🏻"},
		},
	}
	for _, width := range []int{0, 60, 80, 120, 200} {
		var b []byte
		for _, c := range []*event.Check{good, bad} {
			b = append(AppendCheck(b, c, width), "--\n"...)
		}
		name := fmt.Sprintf("check-%d.txt", width)
		if width == 0 {
			name = "check-pipe.txt"
		}
		checkGolden(t, name, b)
		checkLines(t, b, width)
		if strings.Contains(string(b), "\x1b") {
			t.Errorf("%q", b)
		}
	}
	if !good.OK() || bad.OK() {
		t.Error("OK is for those that can run")
	}
	for width := 1; width <= 130; width++ {
		b := append(AppendCheck(nil, good, width), AppendCheck(nil, bad, width)...)
		checkLines(t, b, max(width, 32)) // names of facts and columns need so many
	}
}

func TestCheckTakesNoColumnsForWhatIsNotMissed(t *testing.T) {
	c := &event.Check{Commands: []event.CheckedCommand{{Name: "exec", Features: []event.CheckedFeature{{Name: "programs", Hooks: "tracepoint"}}}}}
	_, table, _ := strings.Cut(string(AppendCheck(nil, c, 80)), "\n\n")
	if want := "COMMAND  SEES      HOOK\nexec     programs  tracepoint\n"; table != want {
		t.Errorf("%s", table)
	}
}

// tablewriter counts cells otherwise in some locales; the tables must not.
func TestGridIsTheSameInEveryLocale(t *testing.T) {
	text := strings.Join(hostile, " ")
	rows := []gridRow{{cells: []string{"…", string(AppendText(nil, text)), "1"}}, {cells: []string{"  two", "日本語\n→ ①", "12"}, mark: Failed}}
	columns := []Column{{Title: "A", Width: 4}, {Title: "TEXT", Width: 40}, {Title: "N", Width: 3, Right: true}}
	var got [2]string
	for i, wide := range []bool{false, true} {
		twwidth.SetEastAsian(wide)
		got[i] = string(appendGrid(nil, columns, rows, 1, nil))
	}
	twwidth.SetEastAsian(false)
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Error(diff)
	}
	want := "A    TEXT" + strings.Repeat(" ", 36) + "   N\n" + "…    " + string(AppendText(nil, text)) + "   1\n" +
		"  two 日本語" + strings.Repeat(" ", 34) + "  12\n" + "     → ①\n"
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
}
