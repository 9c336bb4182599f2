package exec_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
)

// nothing is a program that ends at once, whatever its arguments are.
func nothing(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(kit.WorkloadBinary(t), args...)
	cmd.Env = append(os.Environ(), "TRACER_WORKLOAD=nothing")
	return cmd
}

func TestKernelExecArgumentsArriveWhole(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := kit.Start(t, "exec", "--exits")
	var all []byte
	for i := range 255 {
		all = append(all, byte(i+1))
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	exe := kit.WorkloadBinary(t)
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
		cmd := nothing(t, c.args...)
		pid := kit.Launch(t, cmd)
		e := r.Until(kit.Started(pid))
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
		if x := r.Until(kit.Ended(pid)); !cmp.Equal(x["args"], e["args"]) || x["args_truncated"] != e["args_truncated"] {
			t.Errorf("%s: the exit tells of other arguments: %.200v", name, x)
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
	if a := r.Stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
}

func TestKernelExecTellsWhoAndWhere(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := kit.Start(t, "exec", "--exits")
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
	exe := kit.WorkloadBinary(t)
	cmd := nothing(t, "x")
	cmd.Dir = deep
	before := time.Now()
	pid := kit.Launch(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	r.Until(kit.Ended(pid))
	e := r.One("exec", pid)
	at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
	if err != nil || at.Before(before) || at.After(after) {
		t.Errorf("time %v is not between %v and %v", e["time"], before, after)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"time": e["time"], "cgroup_id": e["cgroup_id"], "event": "exec", "pid": float64(pid), "comm": "workload",
		"uid": 0.0, "user": "root", "ppid": float64(os.Getpid()), "parent_comm": strings.TrimSpace(string(comm)),
		"exe": exe, "cwd": deep, "args": []any{exe, "x"},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	x := r.One("exit", pid)
	if d := x["duration_us"].(float64); d <= 0 || d > float64(after.Sub(before).Microseconds()) {
		t.Errorf("duration %v µs, want at most %v", d, after.Sub(before))
	}
	delete(x, "duration_us")
	want = map[string]any{
		"time": x["time"], "cgroup_id": e["cgroup_id"], "event": "exit", "pid": float64(pid), "comm": "workload",
		"uid": 0.0, "user": "root", "ppid": float64(os.Getpid()), "exe": exe, "args": []any{exe, "x"}, "exit_code": 0.0,
	}
	if diff := cmp.Diff(want, x); diff != "" {
		t.Error(diff)
	}
	r.Stop()
}

func TestKernelExecShowsScriptsAndFilesInMemory(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := kit.Start(t, "exec")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh -e\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, "one")
	pid := kit.Launch(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	e := r.Until(kit.Started(pid))
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
	own, err := os.Open(kit.WorkloadBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := io.Copy(mem, own); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
	cmd.Env = []string{"TRACER_WORKLOAD=nothing"}
	pid = kit.Launch(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if e := r.Until(kit.Started(pid)); e["exe"] != "/memfd:in memory" {
		t.Errorf("memfd: exe %q", e["exe"])
	}
	r.Stop()
}

func TestKernelExitTellsStatusSignalAndDuration(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	old := exec.Command(kit.WorkloadBinary(t), "older than tracer")
	old.Env = append(os.Environ(), "TRACER_WORKLOAD=sleep")
	oldStart := time.Now()
	oldPID := kit.Launch(t, old)
	r := kit.Start(t, "exec", "--exits")
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
		cmd := kit.Workload(t, c.workload, strconv.Itoa(int(c.code)))
		if c.workload == "kill" {
			cmd = exec.Command("/bin/sh", "-c", fmt.Sprintf("ulimit -c 0; kill -%d $$", int(c.code)))
		}
		begin := time.Now()
		pid := kit.Launch(t, cmd)
		_ = cmd.Wait() // the status is the point
		took := time.Since(begin)
		r.Until(kit.Ended(pid))
		e := r.One("exit", pid)
		if c.signal != "" {
			if e["signal"] != c.signal || e["exit_code"] != nil {
				t.Errorf("%s: %v", name, e)
			}
		} else if e["exit_code"] != c.code || e["signal"] != nil {
			t.Errorf("%s: %v", name, e)
		}
		d := time.Duration(e["duration_us"].(float64)) * time.Microsecond
		if d > took || c.workload == "leader" && d < 50*time.Millisecond {
			t.Errorf("%s: duration %v of %v", name, d, took)
		}
		if execs := len(r.Of("exec", pid)); execs != 1 && c.workload != "thread" || c.workload == "thread" && execs != 2 {
			t.Errorf("%s: %d execs", name, execs)
		}
	}
	_ = old.Process.Kill()
	_ = old.Wait()
	took := time.Since(oldStart)
	r.Until(kit.Ended(oldPID))
	e := r.One("exit", oldPID)
	d := time.Duration(e["duration_us"].(float64)) * time.Microsecond
	if d > took || d < took/2 {
		t.Errorf("an older process: duration %v of %v", d, took)
	}
	if diff := cmp.Diff([]any{old.Path, "older than tracer"}, e["args"]); diff != "" {
		t.Errorf("an older process: %s", diff)
	}
	if a := r.Stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
}

func TestKernelExitOfForkWithoutExecKeepsTheProgram(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := kit.Start(t, "exec", "--exits")
	cmd := exec.Command("/bin/sh", "-c", "(exit 5); true")
	pid := kit.Launch(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	r.Until(kit.Ended(pid))
	var forked map[string]any
	for _, e := range r.Of("exit", 0) {
		if e["ppid"] == float64(pid) {
			forked = e
		}
	}
	if forked == nil || forked["exit_code"] != 5.0 {
		t.Fatalf("no exit of the forked shell: %v", r.Events)
	}
	if diff := cmp.Diff([]any{"/bin/sh", "-c", "(exit 5); true"}, forked["args"]); diff != "" {
		t.Error(diff)
	}
	r.Stop()
}

func TestKernelExecFailedTellsEachCommandOnce(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
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
	if err := os.Symlink(kit.WorkloadBinary(t), found); err != nil {
		t.Fatal(err)
	}
	r := kit.Start(t, "exec", "--failed", "--exits")
	walk := func(name string) []string { // one through PATH
		var files []string
		for _, dir := range dirs[:3] {
			files = append(files, filepath.Join(dir, name))
		}
		return files
	}
	for name, c := range map[string]struct {
		argv, try []string
		want      []string
		programs  int // that it becomes
	}{
		"one that is not there":      {[]string{"n", "an arg", ""}, []string{"/nonexistent/n"}, []string{"ENOENT /nonexistent/n"}, 0},
		"one that may not be run":    {[]string{plain}, []string{plain}, []string{"EACCES " + plain}, 0},
		"one that is no program":     {[]string{"e"}, []string{empty}, []string{"ENOEXEC " + empty}, 0},
		"a walk through PATH":        {[]string{"missing", "a"}, walk("missing"), []string{"ENOENT missing"}, 0},
		"a walk that is forbidden":   {[]string{"plain"}, walk("plain"), []string{"EACCES plain"}, 0},
		"a walk that succeeds":       {[]string{"found"}, append(walk("found"), found), nil, 1},
		"three tries of one path":    {[]string{"w"}, []string{"/nonexistent/w", "/nonexistent/w", "/nonexistent/w"}, slices.Repeat([]string{"ENOENT /nonexistent/w"}, 3), 0},
		"two paths":                  {[]string{"w"}, []string{"/nonexistent/a/w", "/nonexistent/b/w"}, []string{"ENOENT /nonexistent/a/w", "ENOENT /nonexistent/b/w"}, 0},
		"another program's success":  {[]string{"found"}, []string{"/nonexistent/found", found}, []string{"ENOENT /nonexistent/found"}, 1},
		"a folder that comes later":  {[]string{"found"}, []string{dirs[0] + "/found", found}, []string{"ENOENT " + dirs[0] + "/found"}, 1},
		"a path that is no absolute": {[]string{"w"}, []string{"./w"}, []string{"ENOENT ./w"}, 0},
	} {
		cmd := kit.Workload(t, "try", append(append(slices.Clone(c.argv), "--"), c.try...)...)
		cmd.Env = append(cmd.Env, "PATH="+strings.Join(dirs[:4], ":"))
		if name == "a walk through PATH" || name == "a walk that is forbidden" {
			cmd.Env = append(cmd.Env, "PATH="+strings.Join(dirs[:3], ":"))
		}
		pid := kit.Launch(t, cmd)
		_ = cmd.Wait()
		r.Until(kit.Ended(pid))
		if n := len(r.Of("exec", pid)); n != 1+c.programs {
			t.Errorf("%s: became %d programs", name, n-1)
		}
		var got []string
		for _, e := range r.Of("exec_failed", pid) {
			got = append(got, fmt.Sprint(e["error"], " ", e["exe"]))
			var args []any
			for _, a := range c.argv {
				args = append(args, a)
			}
			if diff := cmp.Diff(args, e["args"]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if c.want == nil && len(got) > 0 && kit.Emulated() {
			// An emulated machine may take longer between two attempts than tracer may
			// wait: its rows are due within 100 ms.
			t.Logf("%s: the misses were told: %v", name, got)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if a := r.Stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
	for i, e := range r.Events[1:] {
		if e["time"].(string) < r.Events[i]["time"].(string) {
			t.Errorf("%v after %v", e, r.Events[i])
		}
	}
}

// A failure may lead to something else, which then comes after it: here its thread stops in the middle of what looks like
// a walk through PATH, and only time tells that it is none.
func TestKernelExecFailedIsToldBeforeWhatItLedTo(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	dir := t.TempDir()
	r := kit.Start(t, "exec", "--failed", "--pid", strconv.Itoa(os.Getpid()))
	for i := range 3 {
		cmd := kit.Workload(t, "try", "missing", "--", dir+"/missing")
		cmd.Env = append(cmd.Env, "PATH="+dir+":/usr/bin")
		_ = cmd.Run()
		fallback := nothing(t, "instead")
		pid := kit.Launch(t, fallback)
		if err := fallback.Wait(); err != nil {
			t.Fatal(err)
		}
		r.Until(kit.Started(pid))
		var rows []string
		for _, e := range r.Events[3*i:] {
			rows = append(rows, e["event"].(string))
		}
		if diff := cmp.Diff([]string{"exec", "exec_failed", "exec"}, rows); diff != "" {
			t.Error(diff)
		}
	}
	if a := r.Stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
}

func TestKernelExecFailedTellsWhatWasAskedFor(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(kit.WorkloadBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	// A copy that was not finished: it is a program to its last page.
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, program[:4096], 0o755); err != nil {
		t.Fatal(err)
	}
	r := kit.Start(t, "exec", "--failed", "--exits")
	long := strings.Repeat("/name", 1000)
	for name, c := range map[string]struct {
		args   []string // of the workload
		err    string
		exe    any
		args0  []any
		count  int // of arguments
		cut    bool
		signal any // that ended it, and then it ran what is broken
	}{
		"an argument that is too long":     {args: []string{"with a long one", "/bin/true", "", "x"}, err: "E2BIG", exe: "/bin/true", args0: []any{"true", strings.Repeat("x", 32767), "end"}, count: 3, cut: true},
		"a path that is too long":          {args: []string{"of a long name", "", "", "x"}, err: "ENAMETOOLONG", exe: long[:4095] + "…", args0: []any{"x"}, count: 1, cut: true},
		"no arguments":                     {args: []string{"with none", "/nonexistent/n", "", "x"}, err: "ENOENT", exe: "/nonexistent/n", count: 0},
		"as many arguments as are read":    {args: []string{"with many", "/nonexistent/n", "", "1024"}, err: "ENOENT", exe: "/nonexistent/n", args0: []any{"a"}, count: 1024},
		"one more":                         {args: []string{"with many", "/nonexistent/n", "", "1025"}, err: "ENOENT", exe: "/nonexistent/n", args0: []any{"a"}, count: 1024, cut: true},
		"an open file":                     {args: []string{"", "", plain, "x", ""}, err: "EACCES", exe: plain, args0: []any{"x", ""}, count: 2},
		"a path from an open folder":       {args: []string{"", "a/b", dir, "x"}, err: "ENOENT", exe: dir + "/a/b", args0: []any{"x"}, count: 1},
		"a path that needs no open folder": {args: []string{"", "/nonexistent/n", dir, "x"}, err: "ENOENT", exe: "/nonexistent/n", args0: []any{"x"}, count: 1},
		"no open file":                     {args: []string{"", "", "/nonexistent", "x"}, err: "EBADF", args0: []any{"x"}, count: 1},
		"a program that is not all there":  {args: []string{"", "./broken", "", "x", "", "one two"}, err: "EFAULT", exe: "./broken", args0: []any{"x", "", "one two"}, count: 3, signal: "SIGSEGV"},
	} {
		cmd := kit.Workload(t, "fail", c.args...)
		cmd.Dir = dir
		pid := kit.Launch(t, cmd)
		_ = cmd.Wait()
		end := r.Until(kit.Ended(pid))
		if c.signal != nil && loaded(t, r, pid, broken) {
			continue
		}
		e := r.One("exec_failed", pid)
		args, _ := e["args"].([]any)
		if e["error"] != c.err || e["exe"] != c.exe || len(args) != c.count || (e["args_truncated"] == true) != c.cut {
			t.Errorf("%s: %.200v, %d arguments", name, e, len(args))
		}
		if diff := cmp.Diff(c.args0, args[:min(len(args), len(c.args0))], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if end["signal"] != c.signal {
			t.Errorf("%s: %v", name, end)
		}
		if c.signal != nil && (end["exe"] != broken || !cmp.Equal(end["args"], e["args"])) {
			t.Errorf("%s: its end is another's: %v", name, end)
		}
	}
	if a := r.Stop(); a["lost"] != 0.0 {
		t.Errorf("account: %v", a)
	}
}

// Without --failed nothing tells what it was that failed, and it was not the program before.
func TestKernelExitOfABrokenProgramIsNotThatOfTheOneBefore(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	program, err := os.ReadFile(kit.WorkloadBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, program[:4096], 0o755); err != nil {
		t.Fatal(err)
	}
	r := kit.Start(t, "exec", "--exits")
	cmd := kit.Workload(t, "fail", "", broken, "", "x")
	pid := kit.Launch(t, cmd)
	_ = cmd.Wait()
	e := r.Until(kit.Ended(pid))
	if !loaded(t, r, pid, broken) && (e["signal"] != "SIGSEGV" || e["comm"] != "broken" || e["exe"] != nil || e["args"] != nil) {
		t.Errorf("%v", e)
	}
	r.Stop()
}

// loaded reports whether the kernel started a program that is not all there, as some (6.1) do: it ends where it misses
// something, and is a program like any other until then.
func loaded(t *testing.T, r *kit.Tracer, pid int, file string) bool {
	t.Helper()
	started := r.Of("exec", pid)
	if len(started) < 2 {
		return false
	}
	if end := r.One("exit", pid); len(started) != 2 || len(r.Of("exec_failed", pid)) != 0 || started[1]["exe"] != file || end["exe"] != file || end["signal"] != "SIGBUS" {
		t.Errorf("%v, then %v", started, end)
	}
	return true
}

// A process that filters leave out may become one that they do not.
func TestKernelExitOfWhoChangesUserTellsItsProgram(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	r := kit.Start(t, "exec", "--exits", "--uid", "65534")
	const n = 7
	for range n {
		_ = nothing(t, "always root").Run()
		cmd := kit.Workload(t, "nobody")
		pid := kit.Launch(t, cmd)
		_ = cmd.Wait()
		e := r.Until(kit.Ended(pid))
		if diff := cmp.Diff([]any{cmd.Path, cmd.Args[1]}, append([]any{e["exe"]}, e["args"].([]any)[1:]...)); diff != "" || e["uid"] != 65534.0 {
			t.Errorf("%v: %s", e, diff)
		}
	}
	if a := r.Stop(); a["seen"] != float64(n) || a["shown"] != float64(n) || a["lost"] != 0.0 || a["incomplete"] != nil {
		t.Errorf("account: %v", a)
	}
}

// The kernel gives an id away before it has freed who had it.
func TestKernelExecFollowsChildrenWhoseIdsAreUsedAgain(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	const n = 23
	r := kit.Start(t, "exec", "--", kit.WorkloadBinary(t), "again", strconv.Itoa(n))
	a := r.Wait(0)
	var got []string
	for _, e := range r.Of("exec", 0)[1:] {
		got = append(got, e["args"].([]any)[1].(string))
	}
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != n || a["lost"] != 0.0 {
		t.Errorf("%d children of %d: %q, %v", len(got), n, got, a)
	}
}

func TestKernelExecNamesTheRealParentUnderPtrace(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	gate, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	// One thread: a debugger attaches to one.
	child := exec.Command("/bin/sh", "-c", "read line; exec /bin/true")
	child.Stdin = gate
	pid := kit.Launch(t, child)
	debugger := kit.Workload(t, "debug", strconv.Itoa(pid))
	out, err := debugger.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	kit.Launch(t, debugger)
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the debugger did not attach: %v", err)
	}
	r := kit.Start(t, "exec", "--exits")
	release.Close()
	r.Until(kit.Ended(pid))
	if e := r.One("exec", pid); e["ppid"] != float64(os.Getpid()) {
		t.Errorf("ppid %v, want %d; the debugger is %d", e["ppid"], os.Getpid(), debugger.Process.Pid)
	}
	_ = debugger.Wait()
	_ = child.Wait()
	r.Stop()
}

func TestKernelExecFollowsDescendantsOfAProcess(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	gate, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	// Three generations below the wanted process, seven processes each.
	root := kit.Workload(t, "tree", "3")
	root.Stdin = gate
	pid := kit.Launch(t, root)
	r := kit.Start(t, "exec", "--exits", "--pid", strconv.Itoa(pid))
	for range 11 {
		if err := nothing(t, "stranger").Run(); err != nil {
			t.Fatal(err)
		}
	}
	release.Close()
	if err := root.Wait(); err != nil {
		t.Fatal(err)
	}
	r.Until(kit.Ended(pid))
	a := r.Stop()
	// What else ends are processes that Go itself forks, without an exec.
	exits := 0
	for _, e := range r.Of("exit", 0) {
		if len(r.Of("exec", int(e["pid"].(float64)))) > 0 || e["pid"] == float64(pid) {
			exits++
		}
	}
	if execs := len(r.Of("exec", 0)); execs != 2+4+8 || exits != 1+2+4+8 {
		t.Errorf("%d execs and %d exits, want 14 and 15", execs, exits)
	}
	if n := float64(len(r.Events)); a["seen"] != n || a["shown"] != n || a["lost"] != 0.0 {
		t.Errorf("the kernel let through what is not wanted: %v", a)
	}
	// Parents before children, a start before its end.
	alive := map[any]bool{float64(pid): true}
	for _, e := range r.Events {
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
	kit.Needs(t, kit.EveryKernel)
	byUser := kit.Start(t, "exec", "--uid", "65534")
	byName := kit.Start(t, "exec", "--comm", "workloa?,nosuch*", "--pid", strconv.Itoa(os.Getpid()))
	cmd := nothing(t, "as nobody")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Path = kit.CopyFile(t, cmd.Path)
	other := exec.Command("/bin/sh", "-c", "exit 0")
	if err := other.Run(); err != nil {
		t.Fatal(err)
	}
	named := nothing(t)
	namedPID := kit.Launch(t, named)
	if err := named.Wait(); err != nil {
		t.Fatal(err)
	}
	pid := kit.Launch(t, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	e := byUser.Until(kit.Started(pid))
	if e["uid"] != 65534.0 || e["user"] != "nobody" {
		t.Errorf("as nobody: %v", e)
	}
	byUser.Stop()
	for _, e := range byUser.Events {
		if e["uid"] != 65534.0 {
			t.Errorf("--uid 65534 shows %v", e)
		}
	}
	byName.Until(kit.Started(namedPID))
	byName.Stop()
	for _, e := range byName.Events {
		if e["comm"] != "workload" {
			t.Errorf("--comm workloa? shows %v", e)
		}
	}
}

func TestKernelExecStormLosesNothing(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	n := kit.Size(19997, 997)
	r := kit.Start(t, "exec", "--", kit.WorkloadBinary(t), "storm", strconv.Itoa(n))
	got := make([]bool, n)
	var mine int
	a := r.Wait(0)
	for _, e := range r.Of("exec", 0) {
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
	missed := 0.0
	if by, ok := a["lost_by"].(map[string]any); ok && kit.Emulated() {
		// Where programs are preempted what all copies may have missed is told: at most so much.
		missed, _ = by["program_missed"].(float64)
	}
	if mine > n || float64(mine)+missed < float64(n) || a["lost"] != missed || a["seen"] != float64(mine+1)+missed {
		t.Errorf("made %d, saw %d: %v", n, mine, a)
	}
}
