package kernel_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tracer/testdata/kit"
)

// Where something is missing that everything takes, the sentence says what it is and what to do, and nothing else is
// blamed: not the kernel's age, and no file of tracer's own.
func TestKernelNotReady(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	files := func(n int) []string { return []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, n), "sh"} }
	without := func(dir string) []string {
		return []string{"unshare", "-m", "sh", "-c", `umount -l -R "$1" && shift && exec "$@"`, "sh", dir}
	}
	tooFew := func(n int) string {
		return fmt.Sprintf("open files: too many open files: this process may have %d, and tracing takes at least 64\n"+
			"tracer: hint: raise the limit: ulimit -n 1024, as root, in the shell that starts tracer (of a systemd unit LimitNOFILE=)\n", n)
	}
	for name, c := range map[string]struct {
		start []string
		want  string
	}{
		"3 files":  {files(3), tooFew(3)},
		"8 files":  {files(8), tooFew(8)},
		"16 files": {files(16), tooFew(16)},
		"63 files": {files(63), tooFew(63)},
		"no /sys":  {without("/sys"), "read the kernel's files: /sys is not mounted\ntracer: hint: mount -t sysfs sysfs /sys\n"},
		"no /proc": {without("/proc"), "read the kernel's files: /proc is not mounted\ntracer: hint: mount -t proc proc /proc\n"},
	} {
		run := func(args ...string) (string, int) {
			argv := append(append(c.start, kit.Binary(t)), args...)
			return kit.Output(exec.Command(argv[0], argv[1:]...))
		}
		for _, args := range [][]string{{"exec", "-d", "1ms"}, {"http", "-d", "1ms"}, {"exec", "--", "/bin/true"}, {"exec", "--pid", "1", "-d", "1ms"}} {
			if out, status := run(args...); status != 1 || out != "tracer: error: "+c.want {
				t.Errorf("%s: %v: status %d: %s", name, args, status, out)
			}
		}
		what, _, _ := strings.Cut(c.want, "\n")
		if out, status := run("check"); status != 1 || !strings.Contains(out, "all else    unknown: "+what+"\n") || strings.Contains(out, "BTF") {
			t.Errorf("%s: check: status %d: %s", name, status, out)
		}
	}
}

// Files that run out later are the reason that is told, whatever a feature lacks.
func TestKernelFilesRunOut(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	out, status := kit.Output(exec.Command("sh", "-c", `ulimit -n 64; exec "$@"`, "sh", kit.Binary(t), "http", "-d", "1ms"))
	if status != 1 || !strings.Contains(out, "too many open files: this process may have 64\ntracer: hint: raise the limit: ulimit -n 1024") {
		t.Errorf("status %d: %s", status, out)
	}
}

// A time namespace, as a restored or a system container has one, changes the clocks that tracer reads, and not those of
// programs in the kernel: times are those of the wall clock, and timers wait as long as they should.
func TestKernelTimeNamespace(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	for _, offsets := range [][2]string{{"100000", "0"}, {"100000", "7000"}, {"-1", "300000"}} {
		cmd := kit.Command(t, "exec", "--exits", "--failed", "--json", "--", "/bin/sh", "-c", "/nonexistent/x; exec sleep 0.2")
		cmd.Args = append([]string{"unshare", "-T", "--boottime", offsets[0], "--monotonic", offsets[1], "--fork", cmd.Path}, cmd.Args[1:]...)
		cmd.Path, cmd.Err = "/usr/bin/unshare", nil
		before := time.Now()
		r := kit.StartCmd(t, cmd)
		r.Wait(0)
		after := time.Now()
		if len(r.Of("exec_failed", 0)) != 1 || len(r.Of("exit", 0)) < 1 {
			t.Errorf("offsets %v: %v", offsets, r.Events)
		}
		for _, e := range r.Events {
			at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
			if off := kit.Within(kit.ClockError); err != nil || at.Before(before.Add(-off)) || at.After(after.Add(off)) {
				t.Errorf("offsets %v: %v (%v): not between %v and %v", offsets, e, err, before, after)
			}
		}
	}
}
