package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"tracer/render"
	"tracer/trace"
	"tracer/trace/event"
	"tracer/trace/kernel/attach"
)

// The test binary is also tracer, and what tracer is to see.
const (
	asTracer   = "TRACER_TEST_AS_TRACER"
	asWorkload = "TRACER_TEST_AS_WORKLOAD"
)

func TestMain(m *testing.M) {
	attach.Become()
	trace.BecomeCommand()
	if os.Getenv(asTracer) != "" {
		os.Unsetenv(asTracer)
		os.Exit(run())
	}
	if len(os.Args) == 3 && os.Args[1] == "storm" {
		n, _ := strconv.Atoi(os.Args[2])
		storm(n)
		os.Exit(0)
	}
	if name := os.Getenv(asWorkload); name != "" {
		os.Unsetenv(asWorkload)
		workload(name, os.Args[1:])
		os.Exit(0)
	}
	testscript.Main(m, map[string]func(){"tracer": func() { os.Exit(run()) }})
}

// TestScript holds the command line to its contract, as text: testdata/script.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// A screen of help is one of 24 lines and 80 cells, and names every flag.
func TestHelpFitsAScreen(t *testing.T) {
	root := newRoot(new(int))
	for _, cmd := range append(root.Commands(), root) {
		screen := render.AppendScreen(nil, helpOf(cmd))
		if lines := bytes.Count(screen, []byte{'\n'}); lines > 24 {
			t.Errorf("%s --help has %d lines", cmd.CommandPath(), lines)
		}
		full := render.AppendHelp(nil, helpOf(cmd))
		for _, text := range [][]byte{screen, full} {
			for line := range bytes.Lines(text) {
				if n := utf8.RuneCount(line) - 1; n > 80 {
					t.Errorf("%s: %d cells: %s", cmd.CommandPath(), n, line)
				}
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if !f.Hidden && f.Name != "help" && !bytes.Contains(text, []byte("--"+f.Name)) {
					t.Errorf("%s: nothing about --%s in\n%s", cmd.CommandPath(), f.Name, text)
				}
			})
		}
	}
	// What is every command's stands below what is its own.
	for _, p := range trace.Probes {
		own := flag.NewFlagSet("", flag.ContinueOnError)
		p.New().Flags(own)
		cmd, _, err := root.Find([]string{p.Name})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if own.Lookup(f.Name) == nil && f.Name != "help" && annotation(f, purpose) == "" {
				t.Errorf("%s: --%s has no place in the help", p.Name, f.Name)
			}
		})
	}
}

// A name that a shell would not take as it is stays out: root presses Tab, and a
// process may have any name.
func TestOffer(t *testing.T) {
	names := []string{"nginx", "ng;reboot", "ng$(id)", "ng inx", "ng\x1b[2J", "ng\nx", "", "ngb\tits place", "nginx", "ng,x"}
	for _, c := range []struct {
		typed string
		list  bool
		want  string
	}{
		{"", false, "ng,x ngb\tits place nginx"},
		{"ngi", false, "nginx"},
		{"x", false, ""},
		{"a,ngi", true, "a,nginx"},
		{"ngi,", true, "ngi,ngb\tits place ngi,nginx"},
		{"a,ngi", false, ""},
	} {
		got, _ := offer(names, c.typed, c.list)
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%q, a list: %t: %q, want %q", c.typed, c.list, text, c.want)
		}
	}
}

// self is a command that runs this binary in another of its roles.
func self(role, value string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), role+"="+value)
	return cmd
}

// needRoot is for tests that trace for real. Where that is promised, as in CI, a
// machine that cannot is a failure.
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

// A traced is tracer running with --json.
type traced struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Scanner
	events []map[string]any
	stderr *bufio.Reader
	notes  []map[string]any // lines of stderr
	other  []string         // lines of stderr that are not tracer's
	PID    int
}

// startTracer runs tracer and returns when it is ready.
func startTracer(t *testing.T, args ...string) *traced {
	t.Helper()
	needRoot(t)
	command := slices.Index(args, "--")
	if command < 0 {
		command = len(args)
	}
	args = slices.Insert(slices.Clone(args), command, "--json")
	cmd := self(asTracer, "1", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &traced{t: t, cmd: cmd, out: bufio.NewScanner(out), stderr: bufio.NewReader(stderr), PID: cmd.Process.Pid}
	r.out.Buffer(nil, 1<<20)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for len(r.notes) == 0 {
		if !r.readNote() {
			t.Fatalf("tracer ended before it was ready: %v, stderr %q", cmd.Wait(), r.other)
		}
	}
	if r.notes[0]["event"] != "start" {
		t.Fatalf("first line on stderr: %v", r.notes[0])
	}
	return r
}

func (r *traced) readNote() bool {
	line, err := r.stderr.ReadString('\n')
	if line != "" {
		var note map[string]any
		if json.Unmarshal([]byte(line), &note) == nil {
			r.notes = append(r.notes, note)
		} else {
			r.other = append(r.other, strings.TrimSuffix(line, "\n"))
		}
	}
	return err == nil
}

// until reads events until one satisfies f, and returns it.
func (r *traced) until(f func(map[string]any) bool) map[string]any {
	r.t.Helper()
	for r.out.Scan() {
		var e map[string]any
		if err := json.Unmarshal(r.out.Bytes(), &e); err != nil {
			r.t.Fatalf("line %q: %v", r.out.Text(), err)
		}
		r.events = append(r.events, e)
		if f(e) {
			return e
		}
	}
	r.t.Fatalf("the awaited event did not come; %d did, the last: %v, stderr: %q", len(r.events), r.events[max(0, len(r.events)-5):], r.other)
	return nil
}

// stop interrupts tracer and returns its account.
func (r *traced) stop() map[string]any {
	r.t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		r.t.Fatal(err)
	}
	return r.wait(0)
}

// wait reads everything until tracer ends, with this status, and returns the
// account.
func (r *traced) wait(status int) map[string]any {
	r.t.Helper()
	var done sync.WaitGroup
	done.Go(func() {
		for r.readNote() {
		}
	})
	for r.out.Scan() {
		var e map[string]any
		if err := json.Unmarshal(r.out.Bytes(), &e); err != nil {
			r.t.Fatalf("line %q: %v", r.out.Text(), err)
		}
		r.events = append(r.events, e)
	}
	done.Wait()
	err := r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); got != status {
		r.t.Fatalf("tracer: %v, want exit status %d; stderr %q %v", err, status, r.other, r.notes)
	}
	account := r.notes[len(r.notes)-1]
	if account["event"] != "end" {
		r.t.Fatalf("last line on stderr: %v", account)
	}
	return account
}

// of lists the events of a kind and a process.
func (r *traced) of(kind string, pid int) (found []map[string]any) {
	for _, e := range r.events {
		if e["event"] == kind && (pid == 0 || e["pid"] == float64(pid)) {
			found = append(found, e)
		}
	}
	return found
}

// one is the only event of a kind and a process.
func (r *traced) one(kind string, pid int) map[string]any {
	r.t.Helper()
	found := r.of(kind, pid)
	if len(found) != 1 {
		r.t.Fatalf("%d events %q of process %d, want one: %v", len(found), kind, pid, found)
	}
	return found[0]
}

func ended(pid int) func(map[string]any) bool {
	return func(e map[string]any) bool { return e["event"] == "exit" && e["pid"] == float64(pid) }
}

func started(pid int) func(map[string]any) bool {
	return func(e map[string]any) bool { return e["event"] == "exec" && e["pid"] == float64(pid) }
}

// start starts a command and says which process it is.
func start(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd.Process.Pid
}

// trueArgs runs this binary as something that ends at once.
func trueArgs(args ...string) *exec.Cmd { return self(asWorkload, "nothing", args...) }

func TestKernelExecArgumentsArriveWhole(t *testing.T) {
	r := startTracer(t, "exec")
	var all []byte
	for i := range 255 {
		all = append(all, byte(i+1))
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	exe := "/proc/self/exe"
	for name, c := range map[string]struct {
		args []string
		cut  bool
	}{
		"an empty one":           {args: []string{"", "x", ""}},
		"3,000 bytes":            {args: []string{strings.Repeat("a", 3000)}},
		"300 of them":            {args: many},
		"every byte":             {args: []string{string(all)}},
		"32 KiB in all":          {args: []string{strings.Repeat("b", 32768-len(exe)-2)}},
		"one byte over 32 KiB":   {args: []string{strings.Repeat("c", 32768-len(exe)-1)}, cut: true},
		"100,000 bytes":          {args: []string{strings.Repeat("d", 100000)}, cut: true},
		"newlines and sequences": {args: []string{"a\nb\tc", "\x1b[31mred\x1b[0m", "ünïcödé", "\u202e"}},
	} {
		cmd := trueArgs(c.args...)
		pid := start(t, cmd)
		e := r.until(started(pid))
		if err := cmd.Wait(); err != nil {
			t.Fatal(name, err)
		}
		want := []any{exe}
		for _, a := range c.args {
			want = append(want, strings.ToValidUTF8(a, "\ufffd"))
		}
		if name == "every byte" {
			// Each byte that is no UTF-8 becomes one U+FFFD.
			want[1] = string([]rune(string(all)))
		}
		cut, _ := e["args_truncated"].(bool)
		if cut != c.cut {
			t.Errorf("%s: args_truncated %v, want %v", name, cut, c.cut)
		}
		if c.cut {
			got := e["args"].([]any)
			if last := got[len(got)-1].(string); !strings.HasPrefix(c.args[0], last) || len(last) != 32768-len(exe)-1 {
				t.Errorf("%s: got the first %d bytes, want %d", name, len(last), 32768-len(exe)-1)
			}
			continue
		}
		if diff := cmp.Diff(want, e["args"]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if a := r.stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
}

func TestKernelExecTellsWhoAndWhere(t *testing.T) {
	r := startTracer(t, "exec", "--exits")
	dir := t.TempDir()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	deep := dir
	for range 7 {
		deep = filepath.Join(deep, strings.Repeat("x", 200))
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := trueArgs("x")
	cmd.Dir = deep
	before := time.Now()
	pid := start(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	r.until(ended(pid))
	e := r.one("exec", pid)
	at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
	if err != nil || at.Before(before) || at.After(after) {
		t.Errorf("time %v is not between %v and %v", e["time"], before, after)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"time": e["time"], "cgroup_id": e["cgroup_id"], "event": "exec", "pid": float64(pid), "comm": "exe",
		"uid": 0.0, "user": "root", "ppid": float64(os.Getpid()), "parent_comm": strings.TrimSpace(string(comm)),
		"exe": exe, "cwd": deep, "args": []any{"/proc/self/exe", "x"},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	x := r.one("exit", pid)
	if d := x["duration_us"].(float64); d <= 0 || d > float64(after.Sub(before).Microseconds()) {
		t.Errorf("duration %v µs, want at most %v", d, after.Sub(before))
	}
	delete(x, "duration_us")
	want = map[string]any{
		"time": x["time"], "cgroup_id": e["cgroup_id"], "event": "exit", "pid": float64(pid), "comm": "exe",
		"uid": 0.0, "ppid": float64(os.Getpid()), "exe": exe, "args": []any{"/proc/self/exe", "x"}, "exit_code": 0.0,
	}
	if diff := cmp.Diff(want, x); diff != "" {
		t.Error(diff)
	}
	r.stop()
}

func TestKernelExecShowsScriptsAndFilesInMemory(t *testing.T) {
	r := startTracer(t, "exec")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh -e\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, "one")
	pid := start(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	e := r.until(started(pid))
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{sh, []any{"/bin/sh", "-e", script, "one"}}, []any{e["exe"], e["args"]}); diff != "" {
		t.Errorf("script: %s", diff)
	}

	fd, err := unix.MemfdCreate("in memory", 0)
	if err != nil {
		t.Fatal(err)
	}
	mem := os.NewFile(uintptr(fd), "memfd")
	defer mem.Close()
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := io.Copy(mem, own); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
	cmd.Env = []string{asWorkload + "=nothing"}
	pid = start(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if e := r.until(started(pid)); e["exe"] != "/memfd:in memory" {
		t.Errorf("memfd: exe %q", e["exe"])
	}
	r.stop()
}

func TestKernelExitTellsStatusSignalAndDuration(t *testing.T) {
	old := exec.Command("/proc/self/exe", "older than tracer")
	old.Env = append(os.Environ(), asWorkload+"=sleep")
	oldStart := time.Now()
	oldPID := start(t, old)
	r := startTracer(t, "exec", "--exits")
	for name, c := range map[string]struct {
		workload string
		code     float64
		signal   string
	}{
		"a status":                    {workload: "exit", code: 7},
		"the largest status":          {workload: "exit", code: 255},
		"SIGKILL":                     {workload: "kill", code: 9, signal: "SIGKILL"},
		"SIGSEGV, with a core or not": {workload: "kill", code: 11, signal: "SIGSEGV"},
		"a real-time signal":          {workload: "kill", code: 40, signal: "SIGRTMIN+6"},
		"a leader that ends first":    {workload: "leader", code: 13},
		"exec by another thread":      {workload: "thread", code: 17},
	} {
		cmd := self(asWorkload, c.workload, strconv.Itoa(int(c.code)))
		if c.workload == "kill" {
			cmd = exec.Command("/bin/sh", "-c", fmt.Sprintf("ulimit -c 0; kill -%d $$", int(c.code)))
		}
		begin := time.Now()
		pid := start(t, cmd)
		_ = cmd.Wait() // the status is the point
		took := time.Since(begin)
		r.until(ended(pid))
		e := r.one("exit", pid)
		if c.signal != "" {
			if e["signal"] != c.signal || e["exit_code"] != nil {
				t.Errorf("%s: %v", name, e)
			}
		} else if e["exit_code"] != c.code || e["signal"] != nil {
			t.Errorf("%s: %v", name, e)
		}
		d := time.Duration(e["duration_us"].(float64)) * time.Microsecond
		if d > took || c.workload == "leader" && d < leaderSleep {
			t.Errorf("%s: duration %v of %v", name, d, took)
		}
		if execs := len(r.of("exec", pid)); execs != 1 && c.workload != "thread" || c.workload == "thread" && execs != 2 {
			t.Errorf("%s: %d execs", name, execs)
		}
	}
	_ = old.Process.Kill()
	_ = old.Wait()
	took := time.Since(oldStart)
	r.until(ended(oldPID))
	e := r.one("exit", oldPID)
	d := time.Duration(e["duration_us"].(float64)) * time.Microsecond
	if d > took || d < took/2 {
		t.Errorf("an older process: duration %v of %v", d, took)
	}
	if diff := cmp.Diff([]any{"/proc/self/exe", "older than tracer"}, e["args"]); diff != "" {
		t.Errorf("an older process: %s", diff)
	}
	if a := r.stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
}

func TestKernelExitOfForkWithoutExecKeepsTheProgram(t *testing.T) {
	r := startTracer(t, "exec", "--exits")
	cmd := exec.Command("/bin/sh", "-c", "(exit 5); true")
	pid := start(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	r.until(ended(pid))
	var forked map[string]any
	for _, e := range r.of("exit", 0) {
		if e["ppid"] == float64(pid) {
			forked = e
		}
	}
	if forked == nil || forked["exit_code"] != 5.0 {
		t.Fatalf("no exit of the forked shell: %v", r.events)
	}
	if diff := cmp.Diff([]any{"/bin/sh", "-c", "(exit 5); true"}, forked["args"]); diff != "" {
		t.Error(diff)
	}
	r.stop()
}

func TestKernelExecFailedTellsEachCommandOnce(t *testing.T) {
	dirs := make([]string, 5)
	for i := range dirs {
		dirs[i] = t.TempDir()
	}
	plain := filepath.Join(dirs[0], "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dirs[0], "empty")
	if err := os.WriteFile(empty, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	found := filepath.Join(dirs[3], "found")
	if err := os.Symlink("/proc/self/exe", found); err != nil {
		t.Fatal(err)
	}
	r := startTracer(t, "exec", "--failed", "--exits")
	for name, c := range map[string]struct {
		args []string // of the workload: argv, then --, then what to try
		exe  string
		err  string
	}{
		"one that is not there":    {[]string{"n", "an arg", "", "--", "/nonexistent/n"}, "/nonexistent/n", "ENOENT"},
		"one that may not be run":  {[]string{plain, "--", plain}, plain, "EACCES"},
		"one that is no program":   {[]string{"e", "--", empty}, empty, "ENOEXEC"},
		"a walk through PATH":      {[]string{"missing", "a", "--", dirs[0] + "/missing", dirs[1] + "/missing", dirs[2] + "/missing"}, "missing", "ENOENT"},
		"a walk that is forbidden": {[]string{"plain", "--", dirs[0] + "/plain", dirs[1] + "/plain"}, "plain", "EACCES"},
		"a walk that succeeds":     {[]string{"found", "--", dirs[0] + "/found", dirs[1] + "/found", dirs[2] + "/found", found}, "", ""},
	} {
		cmd := self(asWorkload, "try", c.args...)
		pid := start(t, cmd)
		_ = cmd.Wait()
		r.until(ended(pid))
		if c.err == "" {
			failed := r.of("exec_failed", pid)
			if len(failed) > 0 && os.Getenv("TRACER_VM") != "" {
				// An emulated machine may take longer between two
				// attempts than tracer may wait: its rows are due
				// within 100 ms.
				t.Logf("%s: the misses were told: %v", name, failed)
				failed = nil
			}
			if len(failed) > 0 || len(r.of("exec", pid)) != 2 {
				t.Errorf("%s: %v, %d execs", name, failed, len(r.of("exec", pid)))
			}
			continue
		}
		e := r.one("exec_failed", pid)
		var args []any
		for _, a := range c.args[:slices.Index(c.args, "--")] {
			args = append(args, a)
		}
		if diff := cmp.Diff([]any{c.exe, c.err, args}, []any{e["exe"], e["error"], e["args"]}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if a := r.stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
}

func TestKernelExecNamesTheRealParentUnderPtrace(t *testing.T) {
	gate, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	// One thread: a debugger attaches to one.
	child := exec.Command("/bin/sh", "-c", "read line; exec /bin/true")
	child.Stdin = gate
	pid := start(t, child)
	debugger := self(asWorkload, "debug", strconv.Itoa(pid))
	out, err := debugger.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, debugger)
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the debugger did not attach: %v", err)
	}
	r := startTracer(t, "exec", "--exits")
	release.Close()
	r.until(ended(pid))
	if e := r.one("exec", pid); e["ppid"] != float64(os.Getpid()) {
		t.Errorf("ppid %v, want %d; the debugger is %d", e["ppid"], os.Getpid(), debugger.Process.Pid)
	}
	_ = debugger.Wait()
	_ = child.Wait()
	r.stop()
}

func TestKernelExecFollowsDescendantsOfAProcess(t *testing.T) {
	gate, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	// Three generations below the wanted process, seven processes each.
	root := self(asWorkload, "tree", "3")
	root.Stdin = gate
	pid := start(t, root)
	r := startTracer(t, "exec", "--exits", "--pid", strconv.Itoa(pid))
	for range 11 {
		if err := trueArgs("stranger").Run(); err != nil {
			t.Fatal(err)
		}
	}
	release.Close()
	if err := root.Wait(); err != nil {
		t.Fatal(err)
	}
	r.until(ended(pid))
	a := r.stop()
	// What else ends are processes that Go itself forks, without an exec.
	exits := 0
	for _, e := range r.of("exit", 0) {
		if len(r.of("exec", int(e["pid"].(float64)))) > 0 || e["pid"] == float64(pid) {
			exits++
		}
	}
	if execs := len(r.of("exec", 0)); execs != 2+4+8 || exits != 1+2+4+8 {
		t.Errorf("%d execs and %d exits, want 14 and 15", execs, exits)
	}
	if n := float64(len(r.events)); a["seen"] != n || a["shown"] != n || a["lost"] != 0.0 {
		t.Errorf("the kernel let through what is not wanted: %v", a)
	}
	// Parents before children, a start before its end.
	alive := map[any]bool{float64(pid): true}
	for _, e := range r.events {
		if e["event"] == "exec" {
			if !alive[e["ppid"]] {
				t.Errorf("child %v before its parent %v", e["pid"], e["ppid"])
			}
			alive[e["pid"]] = true
		} else if !alive[e["pid"]] && !alive[e["ppid"]] {
			t.Errorf("end of %v, which is no descendant", e["pid"])
		}
	}
}

func TestKernelExecFiltersByUserAndName(t *testing.T) {
	byUser := startTracer(t, "exec", "--uid", "65534")
	byName := startTracer(t, "exec", "--comm", "ex?,nosuch*", "--pid", strconv.Itoa(os.Getpid()))
	cmd := trueArgs("as nobody")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Where the file itself lies may be closed to nobody: run a copy.
	cmd.Path = copyFile(t, exe)
	other := exec.Command("/bin/sh", "-c", "exit 0")
	if err := other.Run(); err != nil {
		t.Fatal(err)
	}
	named := trueArgs()
	namedPID := start(t, named)
	if err := named.Wait(); err != nil {
		t.Fatal(err)
	}
	pid := start(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	e := byUser.until(started(pid))
	if e["uid"] != 65534.0 || e["user"] != "nobody" {
		t.Errorf("as nobody: %v", e)
	}
	byUser.stop()
	for _, e := range byUser.events {
		if e["uid"] != 65534.0 {
			t.Errorf("--uid 65534 shows %v", e)
		}
	}
	byName.until(started(namedPID))
	byName.stop()
	for _, e := range byName.events {
		if e["comm"] != "exe" {
			t.Errorf("--comm ex? shows %v", e)
		}
	}
}

func copyFile(t *testing.T, from string) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "tracer-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	to := filepath.Join(dir, "copy")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(to, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestKernelExecStormLosesNothing(t *testing.T) {
	n := 19997
	if os.Getenv("TRACER_VM") != "" {
		n = 997
	}
	r := startTracer(t, "exec", "--", "/proc/self/exe", "storm", strconv.Itoa(n))
	got := make([]bool, n)
	var mine int
	a := r.wait(0)
	for _, e := range r.of("exec", 0) {
		args := e["args"].([]any)
		if args[0] != "true" {
			continue
		}
		i, err := strconv.Atoi(args[1].(string))
		if err != nil || i >= n || got[i] {
			t.Fatalf("not one of the storm, or twice: %v", args)
		}
		got[i] = true
		mine++
	}
	if mine != n || a["lost"] != 0.0 || a["seen"] != float64(n+1) {
		t.Errorf("made %d, saw %d: %v", n, mine, a)
	}
}

func TestKernelConnOfACommand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := startTracer(t, "conn", "--", "env", asWorkload+"=network", exe)
	account := r.wait(0)
	if account["seen"] != 5.0 || account["shown"] != 5.0 || account["lost"] != 0.0 {
		t.Errorf("account: %v", account)
	}
	pid := int(r.events[0]["pid"].(float64))
	src, dst := r.events[0]["src_port"], r.events[0]["dst_port"]
	port := func(e map[string]any) bool {
		return e["src_port"] == src && e["dst_port"] == dst && e["src_addr"] == "127.0.0.1" && e["dst_addr"] == "127.0.0.1"
	}
	connect, accept, failed := r.one("connect", pid), r.one("accept", pid), r.one("connect_failed", pid)
	if !port(connect) || connect["role"] != "client" || connect["family"] != "ipv4" || connect["latency_us"].(float64) <= 0 {
		t.Errorf("connect: %v", connect)
	}
	if !port(accept) || accept["role"] != "server" {
		t.Errorf("accept: %v", accept)
	}
	if failed["error"] != "ECONNREFUSED" || failed["dst_port"] != dst {
		t.Errorf("failed: %v", failed)
	}
	for _, e := range r.of("close", pid) {
		if !port(e) || e["tx_bytes"] != 1009.0 || e["rx_bytes"] != 1009.0 || e["reason"] != "closed" || e["closed_by"] != "server" || e["duration_us"].(float64) <= 0 {
			t.Errorf("close: %v", e)
		}
	}
}

func TestKernelCheckTellsWhatCanBeTraced(t *testing.T) {
	needRoot(t)
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
			checked := event.CheckedCommand{Name: command.Command, Error: command.Error}
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
	c, ok := check(0, self(asTracer, "1", "check", "--json"))
	if !ok || c.Kernel != unix.ByteSliceToString(u.Release[:]) || c.BTF == "" || len(c.Missing) != 0 || len(c.Commands) != len(trace.Probes) {
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
	c, _ = check(-1, self(asTracer, "1", "check", "--json", "--tier", "tracepoint"))
	said := false
	for _, command := range c.Commands {
		said = said || command.Error != ""
		for _, f := range command.Features {
			said = said || f.Misses != ""
			if f.Hooks != "tracepoint" && (f.Hooks != "" || f.Misses == "") {
				t.Errorf("tracepoints alone: %s: %+v", command.Name, f)
			}
		}
	}
	if !said {
		t.Error("tracepoints alone: not a word of what is missed")
	}
	// Somebody else may look, and is told what is missing.
	cmd := self(asTracer, "1", "check", "--json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c, ok = check(1, cmd)
	if ok || len(c.Missing) != 4 || c.Missing[0].Name != "CAP_BPF" {
		t.Errorf("as nobody: ok %t, missing %+v", ok, c.Missing)
	}
	for _, command := range c.Commands {
		if !strings.Contains(command.Error, "CAP_BPF") || !strings.Contains(command.Error, "sudo") || !strings.Contains(command.Error, "setcap cap_bpf,cap_perfmon=ep /") {
			t.Errorf("as nobody: %s: %q", command.Name, command.Error)
		}
	}
}

func TestLockdownIsNamed(t *testing.T) {
	needRoot(t)
	locked := func(args ...string) (string, int) {
		cmd := self(asWorkload, "lockdown", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, status := locked("check"); status != 0 || !strings.Contains(out, ", lockdown confidentiality\n") {
		t.Errorf("status %d: %s", status, out)
	}
	// Where functions cannot be hooked the kernel says what it says when locked down.
	if out, status := locked("http", "--tier", "fentry", "-d", "1ms"); status != 0 && !strings.Contains(out, "the kernel is locked down (confidentiality), which forbids reading kernel memory; boot with lockdown=integrity or none") {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestKernelNamespacesOfOnesOwnAreTold(t *testing.T) {
	needRoot(t)
	in := func(attr *syscall.SysProcAttr, args ...string) (string, int) {
		cmd := self(asTracer, "1", args...)
		cmd.SysProcAttr = attr
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	ids := []syscall.SysProcIDMap{{Size: 1}} // root to root
	user := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	for _, args := range [][]string{{"check"}, {"exec", "-d", "1ms"}} {
		if out, status := in(user, args...); status != exitFailed || !strings.Contains(out, "tracing needs CAP_BPF to load programs and CAP_PERFMON") || !strings.Contains(out, "run it outside; what this user namespace gives") {
			t.Errorf("%v in a user namespace: status %d: %s", args, status, out)
		}
	}
	pid := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	for _, args := range [][]string{{"check"}, {"exec", "-d", "1ms"}} {
		if out, status := in(pid, args...); status != 0 || !strings.Contains(out, "this is a pid namespace of its own") || strings.Contains(out, "left out; --self") {
			t.Errorf("%v in a pid namespace: status %d: %s", args, status, out)
		}
	}
	if out, status := in(pid, "exec", "--", "/proc/self/exe"); status != exitFailed || !strings.Contains(out, "a command cannot be followed from a pid namespace of its own") {
		t.Errorf("a command in a pid namespace: status %d: %s", status, out)
	}
}

func TestKernelPrivilegesAreDroppedWhileTracing(t *testing.T) {
	for _, p := range trace.Probes {
		t.Run(p.Name, func(t *testing.T) {
			r := startTracer(t, p.Name, "--", "sleep", "100")
			checkDropped(t, r, true)
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r.wait(128 + 15)
		})
	}
	r := startTracer(t, "exec")
	checkDropped(t, r, false)
	// It still traces, and says what it cost.
	r.until(started(start(t, trueArgs())))
	if end := r.stop(); end["lost"] != 0.0 {
		t.Errorf("account: %v", end)
	}
}

// checkDropped looks at what each thread of a process that traces may do.
func checkDropped(t *testing.T, r *traced, command bool) {
	t.Helper()
	keeps := uint64(1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_PTRACE)
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
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := self(asTracer, "1")
	cmd.Path = copyFile(t, exe)
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
	needRoot(t)
	enough := []int{unix.CAP_BPF, unix.CAP_PERFMON}
	cmd := withCapabilities(t, enough...)
	cmd.Args = append(cmd.Args, "exec", "-d", "1ms")
	if out, err := cmd.CombinedOutput(); err != nil {
		// Before 5.11 maps are locked memory.
		if !strings.Contains(string(out), "give it CAP_SYS_RESOURCE, too") {
			t.Fatalf("%v: %s", err, out)
		}
		enough = append(enough, unix.CAP_SYS_RESOURCE)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe = copyFile(t, exe)
	run := func(p *trace.Probe, buffer string) {
		t.Run(p.Name+" "+buffer, func(t *testing.T) {
			enough := slices.Clone(enough)
			if level, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid"); err == nil && buffer == "perf" && strings.TrimSpace(string(level)) > "2" {
				// Debian's own level.
				cmd := withCapabilities(t, enough...)
				cmd.Args = append(cmd.Args, p.Name, "--buffer", buffer, "-d", "1ms")
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "perf buffers take CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2") {
					t.Fatalf("%v: %s", err, out)
				}
				enough = append(enough, unix.CAP_SYS_ADMIN)
			}
			cmd := withCapabilities(t, enough...)
			cmd.Args = append(cmd.Args, p.Name, "--json", "--buffer", buffer, "--", "env", asWorkload+"=web", exe)
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
			}[p.Name]
			if p.Name != "traffic" {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s%s", diff, errs.String())
				}
			} else if got["traffic"] == 0 {
				t.Errorf("no traffic: %s", errs.String())
			}
			said := errs.String()
			if os.Getenv("TRACER_VM") != "" {
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
		if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), "tracing needs "+name+" to") || !strings.Contains(string(out), "setcap cap_bpf,cap_perfmon=ep ") {
			t.Errorf("without %s: status %d: %s", name, cmd.ProcessState.ExitCode(), out)
		}
	}
}

func TestKernelTypesFromAFile(t *testing.T) {
	needRoot(t)
	copied := copyFile(t, "/sys/kernel/btf/vmlinux")
	// hidden runs tracer where the kernel does not describe its types.
	hidden := func(args ...string) (string, int) {
		cmd := self(asWorkload, "hidden", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, p := range trace.Probes {
		out, status := hidden(p.Name, "-d", "10ms")
		if status != exitFailed || !strings.Contains(out, "this kernel does not describe its types (no /sys/kernel/btf/vmlinux): pass a BTF file made for exactly this kernel with --btf FILE") {
			t.Errorf("%s without types: status %d: %s", p.Name, status, out)
		}
	}
	for _, command := range []struct {
		args []string
		want string // on stderr
	}{
		{[]string{"exec", "--exits"}, "2 events seen, 2 shown, 0 lost"},
		{[]string{"exec", "--container", "none"}, "left out by filters: other containers and pods "}, // the objects place and follow, too
		{[]string{"conn"}, "0 events seen, 0 shown, 0 lost"},
	} {
		args := append(slices.Clone(command.args), "--btf", copied, "--", "/proc/self/exe")
		if out, status := hidden(args...); status != 0 || !strings.Contains(out, command.want) {
			t.Errorf("%v: status %d: %s", args, status, out)
		}
	}
	// The kernel itself has no iterators then; and not every one has kprobes.
	if out, status := hidden("traffic", "--btf", copied, "-d", "10ms"); status != exitFailed || !strings.Contains(out, "one that is built with CONFIG_DEBUG_INFO_BTF has") {
		t.Errorf("traffic: status %d: %s", status, out)
	}
	out, status := hidden("http", "--btf", copied, "--", "/proc/self/exe")
	kprobes := exec.Command("/proc/self/exe", "check", "--tier", "kprobe")
	kprobes.Env = append(os.Environ(), asTracer+"=1")
	if kprobes.Run() == nil {
		if status != 0 || !strings.Contains(out, "3 events seen, 3 shown, 0 lost") {
			t.Errorf("http by kprobes: status %d: %s", status, out)
		}
	} else if status != exitFailed || !strings.Contains(out, "CONFIG_DEBUG_INFO_BTF") {
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
		cmd := self(asTracer, "1", "exec", "--btf", file, "-d", "1ms")
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "is not what this kernel says of its types itself") != want {
			t.Errorf("--btf %s: %v: %s", file, err, out)
		}
	}
	// What is no BTF is told as well.
	if out, status := hidden("exec", "--btf", "/proc/self/exe"); status != exitFailed || !strings.Contains(out, `read BTF from "/proc/self/exe"`) {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestWhoSeesNothingIsToldWhy(t *testing.T) {
	needRoot(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string // regular expression; others on this host are left out, too
	}{
		{[]string{"exec", "--comm", "nosuch", "--", "/proc/self/exe"}, "nothing was shown; seen: exec 1; left out by filters: other names 1.*\n1 events seen, 0 shown"},
		{[]string{"exec", "--comm", "nosuch,exe", "--", "/proc/self/exe"}, ""},
		{[]string{"exec", "--verbose", "--", "/proc/self/exe"}, "tracer: note: seen: exec 1.*\n1 events seen, 1 shown"},
		{[]string{"conn", "--failed", "--", "env", asWorkload + "=web", exe}, "nothing was shown; left out by filters: .*did not fail 2"},
		{[]string{"conn", "--port", "1", "--", "env", asWorkload + "=web", exe}, "nothing was shown; left out by filters: .*other ports 2"},
		{[]string{"http", "--status", "404", "--", "env", asWorkload + "=web", exe}, "nothing was shown; seen: HTTP/1 sockets 2; left out by filters: .*other statuses 3"},
		{[]string{"http", "--uid", "65534", "--", "env", asWorkload + "=web", exe}, "nothing was shown; left out by filters: .*other users "},
	} {
		cmd := self(asTracer, "1", c.args...)
		cmd.Env = append(cmd.Env, asWorkload+"=nothing")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, errs.String())
		}
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if last := lines[len(lines)-1]; !strings.Contains(last, " events seen, ") {
			t.Errorf("%v: the account is not the last line: %q", c.args, lines)
		}
		if c.want == "" && strings.Contains(errs.String(), "seen: ") || !regexp.MustCompile(c.want).MatchString(errs.String()) {
			t.Errorf("%v: no %q in %s", c.args, c.want, errs.String())
		}
	}
	// For programs the account has it, whether they ask or not.
	r := startTracer(t, "exec", "--comm", "nosuch", "--", "/bin/sh", "-c", "exit 0")
	a := r.wait(0)
	if diff := cmp.Diff(map[string]any{"exec": 1.0}, a["kinds"]); diff != "" {
		t.Error(diff)
	}
	if f, ok := a["filtered"].(map[string]any); !ok || f["comm"] != 1.0 {
		t.Errorf("filtered: %v", a["filtered"])
	}
}

func TestKernelConfinedProcessCannotDoHarm(t *testing.T) {
	needRoot(t)
	cmd := self(asWorkload, "confined")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestKernelCommandKeepsItsStatusAndStreams(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		status int
	}{
		"its status":       {[]string{"/bin/sh", "-c", "exit 3"}, 3},
		"killed":           {[]string{"/bin/sh", "-c", "kill -TERM $$"}, 128 + 15},
		"found by PATH":    {[]string{"sh", "-c", "exit 0"}, 0},
		"a missing script": {[]string{"/bin/sh", "/nonexistent/script"}, 2},
	} {
		r := startTracer(t, append([]string{"exec", "--exits", "--"}, c.args...)...)
		if name == "a missing script" {
			// dash and busybox disagree.
			c.status = 127
			if out, _ := exec.Command("/bin/sh", "/nonexistent/script").CombinedOutput(); len(out) > 0 {
				cmd := exec.Command("/bin/sh", "/nonexistent/script")
				_ = cmd.Run()
				c.status = cmd.ProcessState.ExitCode()
			}
		}
		r.wait(c.status)
		if len(r.events) != 2 {
			t.Errorf("%s: %v", name, r.events)
		}
	}
	// Input passes through; output goes to stderr, since stdout is for events.
	needRoot(t)
	cmd := self(asTracer, "1", "exec", "--json", "--", "cat")
	cmd.Stdin = strings.NewReader("hello\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hello") || !strings.Contains(errs.String(), "hello\n") {
		t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
	}
	// The user behind sudo runs it.
	cmd = self(asTracer, "1", "exec", "--json", "--", "sh", "-c", "id -u; id -g")
	cmd.Env = append(cmd.Env, "SUDO_UID=65534", "SUDO_GID=65534")
	errs.Reset()
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		t.Fatal(err, errs.String())
	}
	if !strings.Contains(errs.String(), "65534\n65534\n") {
		t.Errorf("user and group: %q", errs.String())
	}
}

func TestKernelCommandThatCannotRun(t *testing.T) {
	needRoot(t)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{"/nonexistent/x": 127, "nosuchcommand": 127, plain: 126} {
		cmd := self(asTracer, "1", "exec", "--", path)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.HasPrefix(string(out), "tracer: error: run ") {
			t.Errorf("%s: status %d, want %d: %s", path, got, status, out)
		}
	}
}

func TestKernelSignalEndsTheCommand(t *testing.T) {
	r := startTracer(t, "exec", "--exits", "--", "/bin/sh", "-c", "exec sleep 100")
	r.until(func(e map[string]any) bool { return len(r.events) == 2 })
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.wait(128 + 15)
	if e := r.of("exit", 0); len(e) != 1 || e[0]["signal"] != "SIGTERM" {
		t.Errorf("exits: %v", e)
	}
}

func TestKernelStopsAfterCountAndDuration(t *testing.T) {
	r := startTracer(t, "exec", "--count", "3", "--pid", strconv.Itoa(os.Getpid()))
	for range 5 {
		if err := trueArgs().Run(); err != nil {
			t.Fatal(err)
		}
	}
	if a := r.wait(0); a["shown"] != 3.0 || len(r.events) != 3 {
		t.Errorf("--count 3: %d events, %v", len(r.events), a)
	}
	r = startTracer(t, "exec", "--duration", "150ms")
	if a := r.wait(0); a["duration_us"].(float64) < 150000 {
		t.Errorf("--duration 150ms: %v", a)
	}
}

func TestKernelReaderThatLeavesIsNoError(t *testing.T) {
	needRoot(t)
	cmd := self(asTracer, "1", "exec")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if _, err := bufio.NewReader(stderr).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// Nothing is written any more: tracer notices by itself.
	out.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("reader left: %v", err)
	}
}

func TestKernelFullDiskIsAnError(t *testing.T) {
	needRoot(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := self(asTracer, "1", "exec", "--", "/bin/sh", "-c", "exit 0")
	cmd.Stdout = full
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("disk full: %v", err)
	}
	for _, want := range []string{"tracer: error: write to stdout: no space left on the device", "1 lost (output_full 1)"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("disk full: no %q in %q", want, errs.String())
		}
	}
}

// An event is on stdout within 100 ms of happening: as a rule, since a busy
// machine may run anybody later.
func TestKernelEventsAreShownAtOnce(t *testing.T) {
	limit := 100 * time.Millisecond
	if os.Getenv("TRACER_VM") != "" {
		limit = 2 * time.Second
	}
	r := startTracer(t, "exec", "--pid", strconv.Itoa(os.Getpid()))
	var took []time.Duration
	for range 21 {
		pid := start(t, trueArgs())
		e := r.until(started(pid))
		arrived := time.Now()
		at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, arrived.Sub(at))
		time.Sleep(20 * time.Millisecond) // each comes after a pause, when the reader dozes
	}
	r.stop()
	slices.Sort(took)
	if median := took[len(took)/2]; median > limit {
		t.Errorf("half of them take longer than %v: %v", median, took)
	}
	t.Logf("from %v to %v, median %v", took[0], took[len(took)-1], took[len(took)/2])
}

// What carries tracer's own output makes traffic that would be shown, which
// makes traffic: it is left out, and said so, unless asked for.
func TestKernelOwnSessionIsLeftOut(t *testing.T) {
	needRoot(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sshd := filepath.Join(t.TempDir(), "sshd")
	if err := os.Symlink(exe, sshd); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, flag := range []string{"--wide", "--self"} {
		cmd := exec.Command(sshd, listener.Addr().String(), "conn", "--json", "--port", port, flag)
		cmd.Env = append(os.Environ(), asWorkload+"=sshd")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		pid := start(t, cmd)
		r := &traced{t: t, cmd: cmd, out: bufio.NewScanner(out), stderr: bufio.NewReader(stderr), PID: pid}
		for len(r.notes) == 0 {
			if !r.readNote() {
				t.Fatalf("tracer ended: %q", r.other)
			}
		}
		fmt.Fprintln(stdin) // sshd connects
		mine := func(pid int) func(map[string]any) bool {
			return func(e map[string]any) bool { return e["event"] == "connect" && e["pid"] == float64(pid) }
		}
		if flag == "--self" {
			r.until(mine(pid))
		}
		for !slices.Contains(r.other, "connected") {
			if !r.readNote() {
				t.Fatalf("sshd ended: %q", r.other)
			}
		}
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		r.until(mine(os.Getpid()))
		stdin.Close() // sshd interrupts tracer, and ends with it
		r.wait(0)
		shown, note := len(r.of("connect", pid)), false
		for _, n := range r.notes {
			text, _ := n["message"].(string)
			note = note || strings.Contains(text, "sshd "+strconv.Itoa(pid)) && strings.Contains(text, "--self")
		}
		if own := flag == "--self"; shown > 0 != own || note == own {
			t.Errorf("%s: %d rows of sshd, said so: %t", flag, shown, note)
		}
	}
}

func TestKernelSlowReaderLosesNothingUnsaid(t *testing.T) {
	begin := time.Now()
	r := startTracer(t, "exec", "--pid", strconv.Itoa(os.Getpid()))
	// The pipe is full after 64 KiB, the queue behind it after 16 MiB more. A
	// control character takes six bytes of JSON.
	const n, size = 113, 31000
	arg := strings.Repeat("\x01", size)
	for range n {
		if err := exec.Command("/bin/true", arg).Run(); err != nil {
			t.Fatal(err)
		}
	}
	// Told while it goes on, without anything being read from stdout.
	for r.notes[len(r.notes)-1]["event"] != "lost" {
		if !r.readNote() {
			t.Fatal("tracer ended")
		}
	}
	a := r.stop()
	told := 0
	for _, note := range r.notes {
		if note["event"] == "lost" {
			told++
		}
	}
	if seconds := int(time.Since(begin)/time.Second) + 1; told > seconds {
		t.Errorf("told %d times in %d seconds", told, seconds)
	}
	shown, lost := a["shown"].(float64), a["lost"].(float64)
	if shown+lost != n || lost == 0 || int(shown) != len(r.events) {
		t.Errorf("made %d, read %d: %v", n, len(r.events), a)
	}
}

func TestKernelWithoutPrivilegesSaysWhatIsMissing(t *testing.T) {
	needRoot(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := self(asTracer, "1", "exec")
	cmd.Path = copyFile(t, exe)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), "tracing needs CAP_BPF to load programs and CAP_PERFMON to attach programs that read the kernel's memory: run it with sudo, or give them to the file: setcap cap_bpf,cap_perfmon=ep "+cmd.Path) {
		t.Errorf("status %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}

func TestKernelTableOfHostileText(t *testing.T) {
	needRoot(t)
	evil := "\x1b]0;owned\x07\x1b[2J\n\r\u202e\xff"
	cmd := self(asTracer, "1", "exec", "--columns", "comm,args,cwd", "--", "/bin/sh", "-c", `cd "$1" && exec "$0" "$1"`)
	dir := filepath.Join(t.TempDir(), evil)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, evil)
	if err := os.Symlink("/bin/true", link); err != nil {
		t.Fatal(err)
	}
	cmd.Args = append(cmd.Args, link, dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // busybox knows no applet of this name
	for i, b := range out.Bytes() {
		if b < ' ' && b != '\n' || b == 0x7f {
			t.Fatalf("byte %#x at %d of %q", b, i, out.String())
		}
	}
	if n := bytes.Count(out.Bytes(), []byte{'\n'}); n != 3 || !strings.Contains(out.String(), `\x1b]0;owned\x07\x1b[2J\x0a\x0d\xe2\x80\xae\xff`) {
		t.Errorf("%d lines: %q, %s", n, out.String(), errs.String())
	}
}

const leaderSleep = 50 * time.Millisecond

// workload is what tracer is to see, in a process of its own.
func workload(name string, args []string) {
	die := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "workload", name, err)
			os.Exit(99)
		}
	}
	number := func() int {
		n, err := strconv.Atoi(args[0])
		die(err)
		return n
	}
	switch name {
	case "nothing":
	case "sleep":
		time.Sleep(time.Minute)
	case "exit":
		os.Exit(number())
	case "leader":
		// main runs on the leader: it leaves, another thread ends the process.
		runtime.LockOSThread()
		go func() {
			runtime.LockOSThread()
			time.Sleep(leaderSleep)
			unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(number()), 0, 0)
		}()
		unix.RawSyscall(unix.SYS_EXIT, 1, 0, 0)
	case "thread":
		runtime.LockOSThread()
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == os.Getpid() {
				done <- errors.New("this is the leader")
			}
			done <- unix.Exec("/bin/sh", []string{"sh", "-c", "exit " + args[0]}, nil)
		}()
		die(<-done)
	case "try":
		dash := slices.Index(args, "--")
		argv, err := syscall.SlicePtrFromStrings(args[:dash])
		die(err)
		env, err := syscall.SlicePtrFromStrings([]string{asWorkload + "=nothing"})
		die(err)
		// One thread, one argv: what execvp does in C.
		runtime.LockOSThread()
		for _, path := range args[dash+1:] {
			p, err := unix.BytePtrFromString(path)
			die(err)
			unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
		}
		os.Exit(1)
	case "debug":
		runtime.LockOSThread()
		pid := number()
		die(unix.PtraceAttach(pid))
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, 0, nil)
		die(err)
		die(unix.PtraceCont(pid, 0))
		fmt.Println("attached")
		for !ws.Exited() {
			if _, err = unix.Wait4(pid, &ws, 0, nil); err != nil {
				break
			}
			_ = unix.PtraceCont(pid, 0)
		}
	case "confined":
		s, err := trace.Open(trace.Probes[0].New(), trace.Options{})
		die(err)
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
				die(fmt.Errorf("%s, before: %v", name, err))
			}
		}
		// What it still has to do with its maps is not: these have none.
		allowed := map[string]uintptr{"look up": 1, "change": 2, "delete": 3, "walk": 4, "ask about": 15, "take": 21, "look up many": 24, "iterate": 33}
		die(s.Confine())
		*(*int32)(unsafe.Pointer(&zero[0])) = -1
		for name, command := range allowed {
			if _, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&zero[0])), uintptr(len(zero))); errno == unix.EPERM {
				die(fmt.Errorf("bpf: %s: refused", name))
			}
		}
		for name, try := range tries {
			if err := try(); !errors.Is(err, unix.EPERM) {
				die(fmt.Errorf("%s: %v, want EPERM", name, err))
			}
		}
		_, err = s.Account() // which reads a map and asks about programs
		die(err)
	case "lockdown":
		die(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		die(unix.Mount("none", "/sys/kernel/security", "tmpfs", 0, ""))
		die(os.WriteFile("/sys/kernel/security/lockdown", []byte("none integrity [confidentiality]\n"), 0o444))
		die(unix.Exec("/proc/self/exe", append([]string{"tracer"}, args...), append(os.Environ(), asTracer+"=1")))
	case "hidden":
		die(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		die(unix.Mount("none", "/sys/kernel/btf", "tmpfs", 0, ""))
		work := "nothing"
		if args[0] == "http" {
			work = "web"
		}
		env := append(os.Environ(), asTracer+"=1", asWorkload+"="+work)
		die(unix.Exec("/proc/self/exe", append([]string{"tracer"}, args...), env))
	case "web":
		// Three exchanges on one connection.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		die(err)
		go func() { _ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) }() // it ends with the process
		client := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
		for range 3 {
			resp, err := client.Get("http://" + l.Addr().String() + "/web")
			die(err)
			die(resp.Body.Close())
		}
		client.CloseIdleConnections()
	case "named":
		die(os.WriteFile("/proc/self/comm", []byte(args[0]), 0))
		workload("network", nil)
	case "network":
		// As Go programs do it: the listener is an MPTCP one by default.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		die(err)
		server := make(chan error)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				_, err = io.Copy(conn, io.LimitReader(conn, 1009))
				_ = conn.Close()
			}
			server <- err
		}()
		conn, err := net.Dial("tcp", l.Addr().String())
		die(err)
		_, err = conn.Write(make([]byte, 1009))
		die(err)
		n, err := io.Copy(io.Discard, conn)
		if err == nil && n != 1009 {
			err = fmt.Errorf("%d bytes came back", n)
		}
		die(err)
		die(<-server)
		die(conn.Close())
		die(l.Close())
		if _, err = net.Dial("tcp", l.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
			die(fmt.Errorf("not refused: %w", err))
		}
	case "sshd":
		// What carries a session of which tracer is part.
		child := self(asTracer, "1", args[1:]...)
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		die(child.Start())
		in := bufio.NewReader(os.Stdin)
		_, err := in.ReadString('\n')
		die(err)
		conn, err := net.Dial("tcp4", args[0])
		die(err)
		die(conn.Close())
		fmt.Fprintln(os.Stderr, "connected")
		_, _ = io.Copy(io.Discard, in)
		die(child.Process.Signal(os.Interrupt))
		die(child.Wait())
	case "tree":
		_, _ = io.Copy(io.Discard, os.Stdin)
		if depth := number(); depth > 0 {
			for range 2 {
				die(self(asWorkload, "tree", strconv.Itoa(depth-1)).Run())
			}
		}
	}
}

// storm starts n processes as fast as it can, each with its number.
func storm(n int) {
	var group sync.WaitGroup
	next := make(chan int)
	for range 2 * runtime.NumCPU() {
		group.Go(func() {
			for i := range next {
				cmd := exec.Command("/bin/true")
				cmd.Args = []string{"true", strconv.Itoa(i)}
				if err := cmd.Run(); err != nil {
					fmt.Fprintln(os.Stderr, "storm", err)
					os.Exit(99)
				}
			}
		})
	}
	for _, i := range rand.Perm(n) {
		next <- i
	}
	close(next)
	group.Wait()
}

// container is all that tracer sees of one: a cgroup, and the bundle that
// containerd leaves.
type container struct {
	id, uid string
	procs   string // the file that moves processes into its cgroup
}

// newContainer makes one of this name in this pod; one without a bundle has a
// name that only the kubelet knows.
func newContainer(t *testing.T, pod, name string, bundle bool) *container {
	t.Helper()
	needRoot(t)
	tree := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(tree); err != nil {
		tree = "/sys/fs/cgroup"
	}
	c := &container{id: fmt.Sprintf("%064x", rand.Uint64()), uid: fmt.Sprintf("7ace0000-0000-4000-8000-%012x", rand.Uint64()>>16)}
	dir := filepath.Join(tree, "tracer-test-flags/kubepods/besteffort/pod"+c.uid, c.id)
	c.procs = filepath.Join(dir, "cgroup.procs")
	made := []string{dir}
	if bundle {
		file := filepath.Join("/run/containerd/io.containerd.runtime.v2.task/tracer-test-flags", c.id, "config.json")
		made = append(made, filepath.Dir(file))
		if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
			t.Fatal(err)
		}
		spec := fmt.Sprintf(`{"annotations":{"io.kubernetes.cri.container-name":%q,"io.kubernetes.cri.sandbox-name":%q,"io.kubernetes.cri.sandbox-namespace":"demo"}}`, name, pod)
		if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
			t.Fatal(err)
		}
		made = append([]string{file}, made...)
	}
	t.Cleanup(func() {
		for _, dir := range made {
			for dir != tree && dir != "/run" && os.Remove(dir) == nil {
				dir = filepath.Dir(dir)
			}
		}
	})
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a program in the container, named by its last argument.
func (c *container) run(t *testing.T, arg string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `echo $$ >"$0" && exec /bin/sleep "$1"`, c.procs, arg)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestKernelContainerFlags(t *testing.T) {
	app, side := newContainer(t, "web-0", "app", true), newContainer(t, "web-0", "side", true)
	db := newContainer(t, "db-0", "app", true)
	for name, c := range map[string]struct {
		flags []string
		want  string // whose rows
	}{
		"a pod":                  {[]string{"--pod", "web-0"}, "app later side"},
		"pods":                   {[]string{"--pod", "w?b-*"}, "app later side"},
		"a container":            {[]string{"--container", "side"}, "side"},
		"the beginning of an id": {[]string{"--container", db.id}, "db"},
		"a container of a pod":   {[]string{"--container", "app", "--pod", "web-*", "--namespace", "demo"}, "app later"},
		"another namespace":      {[]string{"--namespace", "dem"}, ""},
		"a namespace":            {[]string{"--namespace", "d*o"}, "app db later side"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startTracer(t, append([]string{"exec", "--pid", strconv.Itoa(os.Getpid())}, c.flags...)...)
			later := newContainer(t, "web-0", "app", true)
			all := map[string]*container{"app": app, "side": side, "db": db, "later": later}
			for i, name := range []string{"app", "side", "db", "later"} {
				all[name].run(t, "0.00"+strconv.Itoa(i+1))
			}
			if a := r.stop(); a["lost"] != 0.0 {
				t.Errorf("account: %v", a)
			}
			var got []string
			for _, e := range r.events {
				if e["comm"] != "sleep" || e["namespace"] != "demo" || e["event"] != "exec" {
					t.Errorf("shows %v", e)
				}
				for name, c := range all {
					if e["container_id"] == c.id && e["pod_uid"] == c.uid {
						got = append(got, name)
					}
				}
			}
			slices.Sort(got)
			if want := strings.Fields(c.want); len(r.events) != len(got) || !slices.Equal(got, want) && len(want)+len(got) > 0 {
				t.Errorf("rows of %v, want %v", got, want)
			}
		})
	}
}

// The table says by itself that there are pods.
func TestKernelPodColumnAppears(t *testing.T) {
	c := newContainer(t, "web-0", "app", true)
	cmd := self(asTracer, "1", "exec", "--pid", strconv.Itoa(os.Getpid()), "--count", "3")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if _, err := bufio.NewReader(stderr).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("/bin/sleep", "0.001").Run(); err != nil {
		t.Fatal(err)
	}
	c.run(t, "0.002")
	all, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(string(all)), "\n") {
		// Not the time and the two processes; the shell's line is long.
		f := strings.Fields(line)
		got = append(got, strings.Join(f[3:min(6, len(f))], " "))
	}
	if diff := cmp.Diff([]string{"USER COMMAND", "root /bin/sleep 0.001", "root /bin/sh -c", "USER POD COMMAND", "root web-0 /bin/sleep"}, got); diff != "" {
		t.Errorf("%s: %s", all, diff)
	}
}

// The kubelet is asked where files and sockets give no name, with the token,
// and if its certificate is right.
func TestKernelKubeletIsAskedWithTheToken(t *testing.T) {
	c := newContainer(t, "web-0", "app", false)
	// A network of this thread's own: the kubelet's port may be in use.
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:10250")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]int{}
	kubelet := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		token := req.Header.Get("Authorization")
		mu.Lock()
		asked[req.Method+" "+req.URL.Path+" "+token]++
		mu.Unlock()
		if token != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"items":[{"metadata":{"name":"web-0","namespace":"demo","uid":%q},
			"status":{"containerStatuses":[{"name":"app","containerID":"containerd://%s"}]}}]}`, c.uid, c.id)
	}))
	kubelet.Config.ErrorLog = log.New(io.Discard, "", 0) // of refused handshakes
	kubelet.Listener.Close()
	kubelet.Listener = listener
	kubelet.StartTLS()
	defer kubelet.Close()
	dir := t.TempDir()
	for file, text := range map[string][]byte{
		"token": []byte("secret\n"), "wrong": []byte("guess"),
		"ca": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: kubelet.Certificate().Raw}),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	r := startTracer(t, "exec", "--kubelet-token", dir+"/token", "--kubelet-ca", dir+"/ca", "--pid", strconv.Itoa(os.Getpid()))
	deadline := time.Now().Add(20 * time.Second)
	for named := false; !named; {
		if time.Now().After(deadline) {
			t.Fatalf("the kubelet's name does not come; it was asked %v", asked)
		}
		c.run(t, "0.001")
		e := r.until(func(e map[string]any) bool { return e["comm"] == "sleep" })
		if e["container_id"] != c.id || e["pod_uid"] != c.uid {
			t.Fatalf("%v", e)
		}
		named = e["pod"] == "web-0"
		if named && (e["container"] != "app" || e["namespace"] != "demo") {
			t.Errorf("%v", e)
		}
	}
	r.stop()
	mu.Lock()
	if diff := cmp.Diff(map[string]int{"GET /pods Bearer secret": 1}, asked); diff != "" {
		t.Error(diff)
	}
	clear(asked)
	mu.Unlock()

	// A wrong token is refused, and a certificate of somebody else's does not
	// get to see one. tracer says both.
	refused := startTracer(t, "exec", "--kubelet-token", dir+"/wrong", "--kubelet-ca", dir+"/ca", "--pid", strconv.Itoa(os.Getpid()))
	stranger := startTracer(t, "exec", "--kubelet-token", dir+"/token", "--pid", strconv.Itoa(os.Getpid()))
	c.run(t, "0.001")
	for want, r := range map[string]*traced{
		"401 Unauthorized: it wants a token or client certificate": refused,
		"certificate signed by unknown authority":                  stranger,
	} {
		for text := ""; !strings.Contains(text, want); {
			if !r.readNote() {
				t.Fatal("tracer ended")
			}
			text, _ = r.notes[len(r.notes)-1]["message"].(string)
		}
		r.stop()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || asked["GET /pods Bearer guess"] == 0 {
		t.Errorf("it was shown %v", asked)
	}
}

// loopbackUp gives this thread's network its loopback.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// A screen is a terminal that tracer writes to.
type screen struct {
	t      *testing.T
	master *os.File
	tty    *os.File
	mu     sync.Mutex
	text   []byte        // all that was written
	more   chan struct{} // there is more of it
}

func newScreen(t *testing.T, width, height uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, master: master, tty: tty, more: make(chan struct{}, 1)}
	s.resize(width, height)
	t.Cleanup(func() {
		tty.Close()
		master.Close()
	})
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.text = append(s.text, b[:n]...)
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) resize(width, height uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		s.t.Fatal(err)
	}
}

// start runs tracer on the screen, as the foreground job of a shell, and
// returns when it is ready.
func (s *screen) start(env string, args ...string) *exec.Cmd {
	s.t.Helper()
	needRoot(s.t)
	cmd := self(asTracer, "1", args...)
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=", env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty, s.tty, s.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	start(s.t, cmd)
	s.until("tracing " + args[0])
	return cmd
}

// until waits for text, and returns all that was written so far.
func (s *screen) until(text string) string {
	s.t.Helper()
	timeout := time.After(time.Minute)
	for {
		s.mu.Lock()
		all := string(s.text)
		s.mu.Unlock()
		if strings.Contains(all, text) {
			return all
		}
		select {
		case <-s.more:
		case <-timeout:
			s.t.Fatalf("%q does not come: %q", text, all)
		}
	}
}

// interrupt types Ctrl-C and returns all that was written until tracer ended.
func (s *screen) interrupt(cmd *exec.Cmd) string {
	s.t.Helper()
	if _, err := s.master.Write([]byte{3}); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("Ctrl-C: %v", err)
	}
	return s.until("; cost: CPU")
}

// rows are the lines of exec's table, without what is no row.
func rows(text string) (rows []string) {
	for line := range strings.SplitSeq(text, "\r\n") {
		line = ansi.Strip(line)
		if strings.HasPrefix(line, "TIME ") || len(line) > 12 && line[2] == ':' && line[8] == '.' {
			rows = append(rows, line)
		}
	}
	return rows
}

// The table on a terminal, as the contract has it: no row wraps, the header
// comes again on every screenful, another size is taken up while it runs, and
// what follows ^C stands on a line of its own.
func TestKernelTableOnATerminal(t *testing.T) {
	s := newScreen(t, 60, 10)
	cmd := s.start("A=b", "exec", "--exits", "--pid", strconv.Itoa(os.Getpid()))
	const n = 17
	long := strings.Repeat("long ", 60)
	for range n {
		_ = self(asWorkload, "exit", "7", long).Run()
	}
	_ = self(asWorkload, "exit", "8", "\x1b[2J日本語\u202e").Run()
	first := s.until("exit 8 after")
	s.resize(100, 30)
	time.Sleep(300 * time.Millisecond) // tracer looks at the size every now and then
	_ = self(asWorkload, "exit", "9", long).Run()
	s.until("exit 9 after")
	text := s.interrupt(cmd)

	header := 0
	for i, row := range rows(text) {
		row = strings.ReplaceAll(row, "^C", "") // the terminal's own
		width := 60
		if i >= len(rows(first)) {
			width = 100
		}
		if cells := ansi.StringWidth(row); cells > width || strings.HasSuffix(row, "…") && cells < width-1 { // a wide character may not fit
			t.Errorf("%d cells: %s", cells, row)
		}
		switch {
		case strings.HasPrefix(row, "TIME "):
			header = 0
		case header > 8 && width == 60:
			t.Errorf("%d rows below a header on 10 lines: %s", header, row)
		default:
			if _, err := time.Parse("15:04:05.000", row[:12]); err != nil {
				t.Error(err)
			}
		}
		header++
	}
	if want := 2 * (n + 2); len(rows(text))-strings.Count(text, "TIME ") != want {
		t.Errorf("%d rows, want %d", len(rows(text))-strings.Count(text, "TIME "), want)
	}
	// The kernel sends the signal and then writes ^C: tracer may have been faster.
	if !strings.Contains(text, "^C\r\n") && !strings.Contains(text, "\r\n\r\n^C") || !strings.Contains(text, "\x1b[31m") || strings.Contains(text, "\x1b[2J") || strings.Contains(text, "\u202e") {
		t.Errorf("%q", text)
	}
	for name, env := range map[string]string{"NO_COLOR": "NO_COLOR=1", "a dumb terminal": "TERM=dumb", "--no-color": "A=b"} {
		s := newScreen(t, 60, 10)
		args := []string{"exec", "--failed", "--exits", "--pid", strconv.Itoa(os.Getpid())}
		if strings.HasPrefix(name, "--") {
			args = append(args, name)
		}
		cmd := s.start(env, args...)
		_ = self(asWorkload, "exit", "8").Run()
		s.until("exit 8 after")
		if text := s.interrupt(cmd); strings.Contains(text, "\x1b") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// A live screen is given back whole, however it ends; messages that came
// meanwhile and the account stand below the closing table.
func TestKernelLiveScreenIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(s *screen, cmd *exec.Cmd){
		"Ctrl-C":  func(s *screen, cmd *exec.Cmd) { s.interrupt(cmd) },
		"SIGTERM": func(_ *screen, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() },
		"SIGHUP":  func(_ *screen, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGHUP); _ = cmd.Wait() },
	} {
		s := newScreen(t, 80, 24)
		cmd := s.start("A=b", "traffic", "--interval", "100ms")
		s.until("\x1b[?1049h")
		s.resize(60, 12)
		end(s, cmd)
		text := s.until("; cost: CPU")
		after := text[strings.LastIndex(text, "\x1b[?1049l"):]
		if strings.Count(text, "\x1b[?1049h") != strings.Count(text, "\x1b[?1049l") || !strings.HasPrefix(after, "\x1b[?1049l\x1b[?25h") || !strings.Contains(text, "\x1b[?7h") {
			t.Errorf("%s: the screen is not given back: %q", name, text)
		}
		if !strings.Contains(after, "RECEIVED") || strings.Index(after, "; cost: CPU") < strings.Index(after, "RECEIVED") {
			t.Errorf("%s: below it: %q", name, after)
		}
		if cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("%s: %v", name, cmd.ProcessState)
		}
	}
}

// Requests full of what a terminal obeys are rows like others, in the table and
// as JSON.
func TestKernelHTTPOfHostileText(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // answers each request with nothing
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for line := "x"; strings.TrimSpace(line) != ""; {
					if line, err = r.ReadString('\n'); err != nil {
						return
					}
				}
				_, _ = conn.Write([]byte("HTTP/1.1 200 \x1b[31m\xff\u202eOK\r\nContent-Length: 0\r\nX: \x1b]0;x\x07\r\n\r\n"))
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	args := []string{"http", "--port", port, "--columns", "method,host,path"}
	j := startTracer(t, args...)
	table := newScreen(t, 120, 30)
	cmd := table.start("A=b", args...)
	for _, request := range []string{
		"GET /\x1b]0;owned\x07\x1b[2J HTTP/1.1\r\nHost: \x1b[31mred\r\n\r\n",
		"GET /\xff\xfe\xc0 HTTP/1.1\r\nHost: \u202egnp.exe\u2066\r\n\r\n",
		"GET /" + strings.Repeat("x", 100_000) + " HTTP/1.1\r\nHost: long\r\n\r\n",
		"GET /head HTTP/1.1\r\nHost: h\r\nCookie: " + strings.Repeat("\x1b[2J", 20_000) + "\r\n\r\n",
		"GET /last/\xe6\x97\xa5 HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(conn)
		conn.Close()
	}
	last := func(e map[string]any) bool { return e["path"] == "/last/日" }
	j.until(last)
	for _, e := range j.events {
		for _, key := range []string{"method", "path", "host"} {
			if s, _ := e[key].(string); !utf8.ValidString(s) {
				t.Errorf("%s %q", key, s)
			}
		}
	}
	j.stop()
	table.until("/last/日")
	text := table.interrupt(cmd)
	if !strings.Contains(text, "/xxxx") || !strings.Contains(text, "/head") {
		t.Errorf("rows are missing: %q", text)
	}
	for i, line := range strings.Split(text, "\r\n") {
		if ansi.StringWidth(line) > 120 && !strings.Contains(line, "tracer:") {
			t.Errorf("line %d has %d cells: %q", i, ansi.StringWidth(line), line)
		}
		for _, r := range strings.NewReplacer("\x1b[1m", "", "\x1b[31m", "", "\x1b[2m", "", "\x1b[0m", "").Replace(line) {
			if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Errorf("line %d: %q in %q", i, r, line)
			}
		}
	}
	if strings.Contains(text, "\x1b[31mred") {
		t.Errorf("a stranger's colour: %q", text)
	}
}

// A process may call itself what it likes.
func TestKernelConnOfAHostileName(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := "\x1b[2J\n\r\xff\u202ex"
	r := startTracer(t, "conn", "--", "env", asWorkload+"=named", exe, name)
	r.wait(0)
	if len(r.events) != 5 {
		t.Errorf("%d rows, want 5", len(r.events))
	}
	for _, e := range r.events {
		if want := strings.ToValidUTF8(name, "\ufffd"); e["comm"] != want {
			t.Errorf("comm %q, want %q", e["comm"], want)
		}
	}
	s := newScreen(t, 100, 30)
	cmd := s.start("NO_COLOR=1", "conn", "--columns", "comm,result", "--", "env", asWorkload+"=named", exe, name)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	text := s.until("; cost: CPU")
	rows := strings.Count(text, "\r\n"+`\x1b[2J\x0a\x0…`)
	if rows != 5 {
		t.Errorf("%d rows, want 5", rows)
	}
	for _, r := range strings.ReplaceAll(text, "\r\n", "") {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r == '\u202e' {
			t.Fatalf("%q in %q", r, text)
		}
	}
}

// A container may be called like a flag, and Tab knows what is here.
func TestKernelNamesOfContainers(t *testing.T) {
	odd := newContainer(t, "web-0", "--json", true)
	evil := newContainer(t, "web-1", "x;reboot", true)
	r := startTracer(t, "exec", "--pid", strconv.Itoa(os.Getpid()), "--container", "--json")
	evil.run(t, "0.001")
	odd.run(t, "0.002")
	e := r.until(func(map[string]any) bool { return true })
	if e["container"] != "--json" || e["container_id"] != odd.id {
		t.Errorf("%v", e)
	}
	if a := r.stop(); a["shown"] != 1.0 {
		t.Errorf("%v", a)
	}
	for flag, want := range map[string]string{"--pod": "\nweb-1\n", "--container": "--json\n", "--namespace": "demo\n"} {
		out, err := self(asTracer, "1", "__complete", "exec", flag, "").Output()
		if err != nil || !strings.Contains("\n"+string(out), want) || strings.Contains(string(out), "reboot") {
			t.Errorf("%s: %v: %s", flag, err, out)
		}
	}
}

// What README and help pipe into jq does something with what that command says.
func TestRecipes(t *testing.T) {
	if os.Getenv("TRACER_VM") != "" {
		t.Skip("this kernel's machine has no jq")
	}
	at := time.Unix(1, 0)
	head := func(kind string) event.Common {
		return event.Common{Time: at, Kind: kind, Process: event.Process{PID: 7, Comm: "c", Place: event.Place{Pod: "web-0", PodUID: "u"}}}
	}
	tcp := event.Connection{Role: event.RoleClient, Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:80")}
	program := event.Program{Exe: "/bin/true", Args: []string{"true"}}
	exchange := event.HTTP{Common: head(event.KindHTTP), Connection: tcp, Method: "GET", Path: "/", Host: "h", Status: 200, Latency: time.Millisecond}
	exchange.Role = event.RoleBoth
	stuck := event.HTTP{Common: head(event.KindHTTPStuck), Connection: tcp, Method: "GET", Path: "/", Host: "h", Age: time.Second}
	said := map[string][]event.Event{
		"exec":    {&event.Exec{Common: head(event.KindExec), Program: program}, &event.Exit{Common: head(event.KindExit), Program: program, Code: 7, Duration: time.Second}},
		"conn":    {&event.ConnectFailed{Common: head(event.KindConnectFailed), Connection: tcp, Error: "ECONNREFUSED"}, &event.Close{Common: head(event.KindClose), Connection: tcp}},
		"traffic": {&event.Traffic{Common: head(event.KindTraffic), Tx: 1, Rx: 2}},
		"http":    {&exchange, &stuck},
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range trace.Probes {
		text = append(append(text, '\n'), p.Example...)
	}
	recipes := regexp.MustCompile(`(?m)^\s+tracer (\w+) .*(--json.*\| jq .*)$`).FindAllSubmatch(text, -1)
	if len(recipes) < 10 {
		t.Errorf("%d recipes found", len(recipes))
	}
	for _, r := range recipes {
		command, recipe := string(r[1]), string(r[2])
		recipe = strings.TrimSpace(recipe[strings.Index(recipe, "|")+1:])
		var in []byte
		for _, e := range said[command] {
			in = append(event.AppendJSON(in, e), '\n')
		}
		if command == "check" {
			in = (&event.Check{Commands: []event.CheckedCommand{{Name: "exec", Error: "no"}}}).AppendJSON(nil)
		}
		cmd := exec.Command("sh", "-c", recipe)
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.CombinedOutput()
		if err != nil || len(bytes.TrimSpace(out)) == 0 {
			t.Errorf("tracer %s | %s: %v: %q, given %s", command, recipe, err, out, in)
		}
	}
}

// What is installed is a program, its man pages and completions; what is
// uninstalled is all of that.
func TestMakeInstall(t *testing.T) {
	root := t.TempDir()
	run := func(target string) {
		t.Helper()
		cmd := exec.Command("make", "-s", target, "DESTDIR="+root, "PREFIX=/usr", "BUILD="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v: %s", target, err, out)
		}
	}
	files := func() (files []string) {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, strings.TrimPrefix(path, root+"/usr/"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	run("install")
	want := []string{"bin/tracer", "share/bash-completion/completions/tracer", "share/fish/vendor_completions.d/tracer.fish"}
	for _, cmd := range newRoot(new(int)).Commands() {
		want = append(want, "share/man/man1/tracer-"+cmd.Name()+".1")
	}
	want = append(want, "share/man/man1/tracer.1", "share/zsh/site-functions/_tracer")
	slices.Sort(want)
	if diff := cmp.Diff(want, files()); diff != "" {
		t.Error(diff)
	}
	if out, err := exec.Command(root+"/usr/bin/tracer", "--version").Output(); err != nil || !strings.HasPrefix(string(out), "tracer version ") {
		t.Errorf("%v: %s", err, out)
	}
	run("uninstall")
	if left := files(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
