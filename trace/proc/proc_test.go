package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
)

// host is a tree as proc_pid_stat(5) has it, with the names of strangers: 42 is
// called "a) R 1 (b", the name of 43 has newlines, 9 is a kernel thread, 100 a
// zombie, 200 is torn, 300 has vanished in part.
const host = Dir("../../testdata/proc/host")

// rest is what follows the state and the parent in a line that began at tick
// 777.
const rest = " 9 9 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 777 0\n"

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		name string
		line string
		want Stat
		err  string // what the error holds; no error if empty
	}{
		{"an ordinary process", "12 (bash) S 3" + rest, Stat{PID: 12, PPID: 3, Comm: "bash", Start: 7770 * time.Millisecond}, ""},
		{"a name that pretends to end", "12 (a) R 1 (b) S 3" + rest, Stat{PID: 12, PPID: 3, Comm: "a) R 1 (b", Start: 7770 * time.Millisecond}, ""},
		{"a name of parentheses", "12 ()()() S 3" + rest, Stat{PID: 12, PPID: 3, Comm: ")()(", Start: 7770 * time.Millisecond}, ""},
		{"a name that closes more than it opens", "12 ()))) S 3" + rest, Stat{PID: 12, PPID: 3, Comm: ")))", Start: 7770 * time.Millisecond}, ""},
		{"an empty name", "12 () S 3" + rest, Stat{PID: 12, PPID: 3, Comm: "", Start: 7770 * time.Millisecond}, ""},
		{"a name with newlines and spaces", "12 (\n1 x\n) S 3" + rest, Stat{PID: 12, PPID: 3, Comm: "\n1 x\n", Start: 7770 * time.Millisecond}, ""},
		{"a name that is no UTF-8", "12 (\xff\x1b) S 3" + rest, Stat{PID: 12, PPID: 3, Comm: "\xff\x1b", Start: 7770 * time.Millisecond}, ""},
		{"the first process, which has no parent", "1 (init) S 0" + rest, Stat{PID: 1, PPID: 0, Comm: "init", Start: 7770 * time.Millisecond}, ""},
		{"a process that we may look into", "12 (bash) S 3" + strings.TrimSuffix(rest, "\n") + strings.Repeat(" 5", 4) + " 140" + strings.Repeat(" 5", 19) + " 96 97 98 99 0\n",
			Stat{PID: 12, PPID: 3, Comm: "bash", Start: 7770 * time.Millisecond, Stack: 140, ArgStart: 96}, ""},
		{"the largest number", "4294967295 (x) S 4294967295" + rest, Stat{PID: 4294967295, PPID: 4294967295, Comm: "x", Start: 7770 * time.Millisecond}, ""},
		{"nothing", "", Stat{}, "no name"},
		{"no name", "12 bash S 3" + rest, Stat{}, "no name"},
		{"a name without an end", "12 (bash S 3" + rest, Stat{}, "no name"},
		{"a name that ends before it begins", "12 )bash( S 3" + rest, Stat{}, "no name"},
		{"no number", "(bash) S 3" + rest, Stat{}, "no name"},
		{"a number that is none", "x (bash) S 3" + rest, Stat{}, `"x"`},
		{"a number that is too large", "4294967296 (bash) S 3" + rest, Stat{}, "out of range"},
		{"a parent that is none", "12 (bash) S -3" + rest, Stat{}, `"-3"`},
		{"a line that was cut", "12 (bash) S 3 9 9 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0", Stat{}, "19 fields"},
		{"only a name", "12 (bash)", Stat{}, "0 fields"},
		{"a start before the boot", "12 (bash) S 3" + strings.Replace(rest, "777", "-777", 1), Stat{}, `"-777"`},
		{"a start beyond all time", "12 (bash) S 3" + strings.Replace(rest, "777", "18446744073709551615", 1), Stat{}, "out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseStat([]byte(c.line))
			if c.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "parse stat: ") || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzParseStat: a line made of any name gives back that name and the numbers
// around it; any other line gives an error or a process with a start that is
// not before the boot, and never a panic.
func FuzzParseStat(f *testing.F) {
	f.Add("a) R 1 (b", uint32(1), uint32(0), uint32(7))
	f.Add("\n1 (x) S 1 2 3\n", uint32(4294967295), uint32(1), uint32(4294967295))
	f.Add("12 (bash) S 3"+rest, uint32(0), uint32(0), uint32(0))
	f.Add("12 (bash)", uint32(0), uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, text string, pid, ppid, start uint32) {
		if s, err := parseStat([]byte(text)); err == nil && s.Start < 0 {
			t.Errorf("%q: start %v", text, s.Start)
		}
		line := fmt.Sprintf("%d (%s) S %d%s", pid, text, ppid, strings.Replace(rest, "777", fmt.Sprint(start), 1))
		got, err := parseStat([]byte(line))
		want := Stat{PID: pid, PPID: ppid, Comm: text, Start: time.Duration(start) * 10 * time.Millisecond}
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	})
}

func TestDirStat(t *testing.T) {
	for pid, want := range map[uint32]Stat{
		1:   {PID: 1, PPID: 0, Comm: "systemd", Start: 30 * time.Millisecond},
		9:   {PID: 9, PPID: 2, Comm: "kworker/u8:0-events_unbound", Start: 40 * time.Millisecond},
		42:  {PID: 42, PPID: 10, Comm: "a) R 1 (b", Start: 567890 * time.Millisecond},
		43:  {PID: 43, PPID: 42, Comm: "x\n1 (y) S 1\n", Start: 567900 * time.Millisecond},
		100: {PID: 100, PPID: 42, Comm: "gone", Start: 567910 * time.Millisecond},
	} {
		got, err := host.Stat(pid)
		if err != nil {
			t.Errorf("%d: %v", pid, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", pid, diff)
		}
	}
	if _, err := host.Stat(200); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a torn file: %v", err)
	}
}

func TestDirArgs(t *testing.T) {
	for pid, want := range map[uint32][]string{
		1:   {"/sbin/init", "splash"},
		10:  {"sshd: ann [priv]"},
		42:  {"bash", "-c", "", "echo \"\xff\x1b[2J\"\n"},
		43:  {"no end"},
		9:   {}, // a kernel thread
		100: {}, // a zombie
		200: {""},
	} {
		got, cut, err := host.Args(pid)
		if err != nil || cut {
			t.Errorf("%d: %v", pid, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", pid, diff)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	for _, c := range []struct {
		name  string
		block string
		want  []string
	}{
		{"nothing", "", []string{}},
		{"one", "a\x00", []string{"a"}},
		{"one without its end", "a", []string{"a"}},
		{"an empty one", "\x00", []string{""}},
		{"two empty ones", "\x00\x00", []string{"", ""}},
		{"the last is empty", "a\x00\x00", []string{"a", ""}},
		{"the first is empty", "\x00a\x00", []string{"", "a"}},
		{"the last was cut", "a\x00bc", []string{"a", "bc"}},
		{"any bytes", "\xff\n\x00 \x00", []string{"\xff\n", " "}},
	} {
		if diff := cmp.Diff(c.want, SplitArgs([]byte(c.block))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// FuzzSplitArgs: arguments joined as the kernel does give themselves back, and
// share no memory with the block.
func FuzzSplitArgs(f *testing.F) {
	f.Add("a", "b")
	f.Add("", "\xff")
	f.Add("a\x00b", "\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		block := []byte(a + "\x00" + b + "\x00")
		want := append(strings.Split(a, "\x00"), strings.Split(b, "\x00")...)
		got := SplitArgs(block)
		clear(block)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if SplitArgs([]byte(a)) == nil {
			t.Errorf("%q: nil", a)
		}
	})
}

func TestDirExe(t *testing.T) {
	for pid, want := range map[uint32]string{1: "/usr/lib/systemd/systemd", 42: "/tmp/a b"} { // whose file is deleted
		if got, err := host.Exe(pid); got != want || err != nil {
			t.Errorf("%d: %q, %v", pid, got, err)
		}
	}
	if _, err := host.Exe(9); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a kernel thread: %v", err)
	}
}

func TestDirPIDs(t *testing.T) {
	got, err := host.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint32{1, 2, 9, 10, 42, 43, 100, 200, 300, 400}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := (host + "/missing").PIDs(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing tree: %v", err)
	}
}

func TestDirAncestors(t *testing.T) {
	for _, c := range []struct {
		name string
		dir  Dir
		pid  uint32
		want []uint32
	}{
		{"up to the first process", host, 43, []uint32{42, 10, 1}},
		{"of a kernel thread", host, 9, []uint32{2}},
		{"of the first process", host, 1, nil},
		{"of a process that is gone", host, 41, nil},
		{"of a process whose parent is gone", host, 400, nil},
		{"of a process whose file is torn", host, 200, nil},
	} {
		var got []uint32
		for _, s := range c.dir.Ancestors(c.pid) {
			got = append(got, s.PID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	// Numbers are reused while they are read: two processes may seem to be
	// each other's parents.
	if n := len(Dir("../../testdata/proc/loop").Ancestors(7)); n != 64 {
		t.Errorf("a loop has %d ancestors", n)
	}
}

func TestProcessThatIsGone(t *testing.T) {
	for name, read := range map[string]func(Dir, uint32) error{
		"stat":    func(d Dir, pid uint32) error { _, err := d.Stat(pid); return err },
		"cmdline": func(d Dir, pid uint32) error { _, _, err := d.Args(pid); return err },
		"exe":     func(d Dir, pid uint32) error { _, err := d.Exe(pid); return err },
	} {
		if err := read(host, 41); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a process that was gone before: %v", name, err)
		}
		if name != "cmdline" {
			if err := read(host, 300); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of a process that goes now: %v", name, err)
			}
		}
	}
}

// A file of a process that ends between the opening and the reading: the
// kernel says ESRCH.
func TestProcessThatGoesWhileItIsRead(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := cmd.Start(); err != nil {
		t.Skip("needs to run a process:", err)
	}
	pid := uint32(cmd.Process.Pid)
	// Reading by way of a file that is open already opens it once more, also
	// when its name is gone.
	tree := t.TempDir()
	if err := os.Mkdir(filepath.Join(tree, strconv.Itoa(int(pid))), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stat", "cmdline"} {
		f, err := os.Open(Dir("/proc").path(pid, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := os.Symlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), Dir(tree).path(pid, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dir(tree).Stat(pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
	if _, _, err := Dir(tree).Args(pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cmdline: %v", err)
	}
}

func TestWhatIsNoFileIsNotReadAndDoesNotBlock(t *testing.T) {
	tree := Dir(t.TempDir())
	for pid, make := range map[uint32]func(path string) error{
		1: func(path string) error { return unix.Mkfifo(path, 0o644) },
		2: func(path string) error { return os.Mkdir(path, 0o755) },
		3: func(path string) error { return os.Symlink("/dev/zero", path) },
		4: func(path string) error { return os.Symlink(path, path) },
	} {
		for _, name := range []string{"stat", "cmdline"} {
			path := tree.path(pid, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), make(path)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tree.Stat(pid); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: stat: %v", pid, err)
		}
		if _, _, err := tree.Args(pid); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: cmdline: %v", pid, err)
		}
	}
	fifo := string(tree) + "/1/stat"
	if _, err := NewUsers(fifo).ID("root"); err == nil {
		t.Error("a fifo for a passwd file")
	}
}

func TestFilesAreReadUpToABound(t *testing.T) {
	tree := Dir(t.TempDir())
	path := tree.path(5, "cmdline")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip("needs a sparse file:", err)
	}
	args, cut, err := tree.Args(5)
	if len(args) != maxFile || !cut || err != nil {
		t.Errorf("%d arguments, cut %v, %v", len(args), cut, err)
	}
}

// The real thing: the package understands this kernel.
func TestProcOfThisKernel(t *testing.T) {
	dir, self := Dir("/proc"), uint32(os.Getpid())
	s, err := dir.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != self || s.PPID != uint32(os.Getppid()) || s.Start <= 0 {
		t.Errorf("stat: %+v", s)
	}
	args, _, err := dir.Args(self)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(os.Args, args); diff != "" {
		t.Error(diff)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := dir.Exe(self); got != exe || err != nil {
		t.Errorf("exe %q, %v", got, err)
	}
	pids, err := dir.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for i, pid := range pids {
		found = found || pid == self
		if i > 0 && pid <= pids[i-1] {
			t.Errorf("%d behind %d", pid, pids[i-1])
		}
	}
	if !found {
		t.Errorf("%d is not in %v", self, pids)
	}
	if up := dir.Ancestors(self); s.PPID != 0 && (len(up) == 0 || up[0].PID != s.PPID) {
		t.Errorf("ancestors: %+v", up)
	}
}

// child runs a workload, which has said that it is ready, and ends when it is released.
func child(t *testing.T, args ...string) (pid uint32, release func()) {
	t.Helper()
	cmd := kit.Workload(t, args[0], args[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	kit.Launch(t, cmd)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "done\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return uint32(cmd.Process.Pid), func() {
		in.Close()
		_ = cmd.Wait()
	}
}

// A title is padded with as many NULs as there were other bytes. Arguments that are empty
// look the same.
func TestPaddedTitlesHaveNoEmptyArguments(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a child's memory is open to root alone where ptrace is restricted")
	}
	exe := kit.WorkloadBinary(t)
	for name, c := range map[string]struct{ args, want []string }{
		"a short title":                     {[]string{"title", "worker", strings.Repeat("x", 300)}, []string{"worker"}},
		"a title with as many NULs as argc": {[]string{"title", strings.Repeat("t", len(exe)-1), "", "", ""}, []string{strings.Repeat("t", len(exe)-1)}},
		"an empty title":                    {[]string{"title", "", "x"}, []string{}},
		"empty arguments":                   {[]string{"ready", "a", "", ""}, []string{exe, "ready", "a", "", ""}},
		"one empty argument":                {[]string{"ready", ""}, []string{exe, "ready", ""}},
		"none":                              {[]string{"ready"}, []string{exe, "ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			pid, release := child(t, c.args...)
			defer release()
			got, cut, err := Dir("/proc").Args(pid)
			if diff := cmp.Diff(c.want, got); diff != "" || cut || err != nil {
				t.Errorf("cut %v, %v: %s", cut, err, diff)
			}
		})
	}
}

// The kernel tells of a program that starts where its file is, and not whether it is there.
func TestExeOfAFileThatIsDeleted(t *testing.T) {
	program, err := os.ReadFile(kit.WorkloadBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file   string
		change func(file string) error
	}{
		"it is there":   {"a", func(string) error { return nil }},
		"it is deleted": {"a", os.Remove},
		"it is replaced": {"a", func(file string) error {
			return errors.Join(os.WriteFile(file+".new", nil, 0o755), os.Rename(file+".new", file))
		}},
		"it is deleted and has another name":      {"a", func(file string) error { return errors.Join(os.Link(file, file+".old"), os.Remove(file)) }},
		"it is there and looks as if it were not": {"a (deleted)", func(string) error { return nil }},
		"it looks as if it were not and is not":   {"a (deleted)", os.Remove},
		"another has the name that deletion gives": {"a", func(file string) error {
			return errors.Join(os.Link(file, file+".old"), os.Remove(file), os.WriteFile(file+" (deleted)", nil, 0o755))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, c.file)
			if err := os.WriteFile(file, program, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(file, "sleep")
			pid := kit.Launch(t, cmd)
			defer cmd.Wait()
			defer cmd.Process.Kill()
			if err := c.change(file); err != nil {
				t.Fatal(err)
			}
			if got, err := Dir("/proc").Exe(uint32(pid)); got != file || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestLookupTellsProcessesFromThreads(t *testing.T) {
	thread, self := uint32(kit.Thread(t)), uint32(os.Getpid())
	for _, c := range []struct {
		id   uint32
		want error
	}{{self, nil}, {thread, ErrThread}, {1 << 22, fs.ErrNotExist}, {1<<32 - 1, fs.ErrNotExist}} {
		if err := Lookup(c.id); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%d: %v, want %v", c.id, err, c.want)
		}
	}
}

func TestLeaderOfAThreadIsItsProcess(t *testing.T) {
	thread, self := uint32(kit.Thread(t)), uint32(os.Getpid())
	for _, id := range []uint32{self, thread} {
		if got, err := Dir("/proc").Leader(id); got != self || err != nil {
			t.Errorf("thread %d of process %d: %d, %v", id, self, got, err)
		}
	}
	if _, err := Dir("/proc").Leader(1 << 22); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
}

// Whatever the lines before it hold, the first line Tgid counts.
func FuzzParseLeader(f *testing.F) {
	f.Add("Name:\tx\\nTgid: 5\nUmask:\t0022\n", uint32(7))
	f.Add("Tgid:\n", uint32(7))
	f.Fuzz(func(t *testing.T, before string, id uint32) {
		if strings.Contains("\n"+before, "\nTgid:") {
			_, _ = parseLeader([]byte(before)) // must not panic
			return
		}
		if got, err := parseLeader(fmt.Appendf(nil, "%s\nTgid:\t%d\nNgid:\t0\n", before, id)); got != id || err != nil {
			t.Errorf("%d, %v, want %d after %q", got, err, id, before)
		}
	})
}
