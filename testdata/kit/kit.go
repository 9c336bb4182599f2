// Package kit is what the tests share: where a test runs, the tracer and the workloads that it starts, the rows that
// come of it, waiting with a deadline, and how far off a machine may be. It knows tracer as a program alone and imports
// none of its packages, so that the tests of each of them may use it.
//
// Start with Needs, then Start.
package kit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Kernel says on which kernels a privileged test runs besides this machine's own, where each of them does. The others
// are emulated, which takes long: what is the same on each of them is tested where it is hardest.
type Kernel uint

// The first three may be combined by |.
const (
	OldestKernel Kernel = 1 << iota
	KernelsBetween
	NewestKernel
	// EndsKernel is for what a kernel between the oldest and the newest shares with one of them.
	EndsKernel = OldestKernel | NewestKernel
	// EveryKernel is for what each kernel does in its own way.
	EveryKernel = OldestKernel | KernelsBetween | NewestKernel
	// ThisKernelOnly is for what is user space's.
	ThisKernelOnly Kernel = 0
)

// positions are what kernels.sh calls the kernels of a quick run. In a full run none is spared a test.
var positions = map[string]Kernel{"oldest": OldestKernel, "between": KernelsBetween, "newest": NewestKernel}

// Needs skips a test that is not for this kernel. It fails one that lacks root: where that is promised, as in CI, a
// machine that cannot trace is a failure; elsewhere the test is skipped.
func Needs(t testing.TB, kernels Kernel) {
	t.Helper()
	if at, quick := positions[os.Getenv("TRACER_KERNEL")]; quick && kernels&at == 0 {
		t.Skip("left to other kernels") // report.awk knows these words
	}
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

// Emulated tells whether this is a machine of kernels.sh: about 20 times slower, with busybox instead of tools and
// with nothing beside the tests. A program may be preempted there in the middle.
func Emulated() bool { return os.Getenv("TRACER_VM") != "" }

// A Limit is a time that a test waits, or holds against what it measured.
type Limit int

const (
	Arrival     Limit = iota // of what must come: an event, a line, the end of a process
	ShownAtOnce              // from an event to its row on stdout
	ClockError               // between the clock of events and the wall's
	Overslept                // what a step of a workload takes longer than it should
)

// limits are all tolerances of time that tests have, for a machine that is busy with other things.
var limits = map[Limit]struct{ here, emulated time.Duration }{
	Arrival:     {30 * time.Second, 2 * time.Minute},
	ShownAtOnce: {100 * time.Millisecond, 2 * time.Second},
	ClockError:  {5 * time.Millisecond, 5 * time.Millisecond},
	Overslept:   {40 * time.Millisecond, 2 * time.Second},
}

// Within is a limit as it is on this machine.
func Within(l Limit) time.Duration {
	if Emulated() {
		return limits[l].emulated
	}
	return limits[l].here
}

// Size picks how much a test does: prime numbers, for totals that nothing else has.
func Size(here, emulated int) int {
	if Emulated() {
		return emulated
	}
	return here
}

// Eventually waits until f no longer fails, for what gives no sign of its own.
func Eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(Within(Arrival)); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// programs are built once, if they are not given in the folder TRACER_BIN, as in the emulated machines.
var programs = map[string]func() (string, error){
	"tracer":   sync.OnceValues(func() (string, error) { return build("tracer", "tracer") }),
	"workload": sync.OnceValues(func() (string, error) { return build("workload", "tracer/testdata/kit/workload") }),
}

// build makes a program as the Makefile does. Its folder has the program's name in it and is used again by the tests of
// other packages, whose builds give the same.
func build(name, pkg string) (string, error) {
	if dir := os.Getenv("TRACER_BIN"); dir != "" {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		return path, err
	}
	dir := filepath.Join(os.TempDir(), "tracer-test-"+fmt.Sprint(os.Getuid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// What root is to run must be nobody else's.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; !info.IsDir() || int(owner) != os.Getuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a folder of this user alone: %v, of user %d", dir, info.Mode(), owner)
	}
	// Another test process may run what stands there: it is replaced whole.
	path := filepath.Join(dir, name)
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", fresh, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return path, errors.Join(os.Chmod(fresh, 0o755), os.Rename(fresh, path))
}

// Binary is the path of tracer.
func Binary(t testing.TB) string { return program(t, "tracer") }

// WorkloadBinary is the path of the program with the workloads.
func WorkloadBinary(t testing.TB) string { return program(t, "workload") }

func program(t testing.TB, name string) string {
	t.Helper()
	path, err := programs[name]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Command is tracer with these arguments, and an environment that may be added to.
func Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	cmd.Env = os.Environ()
	return cmd
}

// Workload is one of the workloads, in a process of its own.
func Workload(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(WorkloadBinary(t), append([]string{name}, args...)...)
	cmd.Env = os.Environ()
	return cmd
}

// Output runs a command and returns all that it writes, and its exit status.
func Output(cmd *exec.Cmd) (string, int) {
	out, _ := cmd.CombinedOutput() // the status is told
	return string(out), cmd.ProcessState.ExitCode()
}

// Launch starts a command, which is killed if the test ends before it, and says which process it is.
func Launch(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd.Process.Pid
}

// Run runs a command that has to succeed, and says which process it was.
func Run(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
	return cmd.Process.Pid
}

// Thread is the id of a thread of this process that is not the process's own, until the test ends.
func Thread(t testing.TB) int {
	ids, done := make(chan int), make(chan struct{})
	t.Cleanup(func() { close(done) })
	for range 2 { // of two at least one is not
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			ids <- syscall.Gettid()
			<-done
		}()
	}
	id, other := <-ids, <-ids
	if id == os.Getpid() {
		id = other
	}
	return id
}

// CopyFile copies a file to where everybody may run it: where the file itself lies may be closed to others than root.
func CopyFile(t testing.TB, from string) string {
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
