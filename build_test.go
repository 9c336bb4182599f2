package main

import (
	"bufio"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// However it is built, tracer gives up the same privileges: with cgo, as a plain
// go build has it where there is a C compiler, and without.
func TestKernelEveryBuildDropsPrivileges(t *testing.T) {
	if os.Getenv("TRACER_VM") != "" {
		t.Skip("this kernel's machine has no Go")
	}
	needRoot(t)
	for _, build := range []struct {
		name, cgo string
		dynamic   bool
	}{
		{"without cgo", "CGO_ENABLED=0", false},
		{"with cgo", "CGO_ENABLED=1", true},
	} {
		t.Run(build.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tracer")
			cmd := exec.Command("go", "build", "-o", path, ".")
			cmd.Env = append(os.Environ(), build.cgo)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := isDynamic(t, path); got != build.dynamic {
				t.Fatalf("dynamically linked: %t, want %t", got, build.dynamic)
			}
			for _, args := range [][]string{{"exec", "--json"}, {"conn", "--json", "--", "sleep", "100"}} {
				r := startBinary(t, path, args...)
				command := slices.Contains(args, "--")
				checkDropped(t, r, command)
				if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				for r.readNote() {
				}
				for _, note := range r.notes {
					if note["event"] == "warning" {
						t.Errorf("%v: %v", args, note)
					}
				}
				_ = r.cmd.Wait() // by a signal that was sent to it
			}
		})
	}
}

// startBinary starts a tracer that was built, and waits until it traces and has
// said what it warns of.
func startBinary(t *testing.T, path string, args ...string) *traced {
	t.Helper()
	cmd := exec.Command(path, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	r := &traced{t: t, cmd: cmd, stderr: bufio.NewReader(stderr), PID: cmd.Process.Pid}
	for len(r.notes) == 0 || r.notes[0]["event"] != "start" {
		if !r.readNote() {
			t.Fatalf("tracer ended before it was ready: %q", r.other)
		}
	}
	return r
}

// isDynamic reports whether a program is linked when it is started.
func isDynamic(t *testing.T, path string) bool {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	return err == nil && slices.ContainsFunc(libraries, func(l string) bool { return strings.HasPrefix(l, "libc.") })
}
