package kernel_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tracer/testdata/kit"
)

// However it is built, tracer gives up the same privileges: with cgo, as a plain
// go build has it where there is a C compiler, and without.
func TestKernelEveryBuildDropsPrivileges(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	if kit.Emulated() {
		t.Skip("this kernel's machine has no Go")
	}
	for _, build := range []struct {
		name, cgo string
		dynamic   bool
	}{
		{"without cgo", "CGO_ENABLED=0", false},
		{"with cgo", "CGO_ENABLED=1", true},
	} {
		t.Run(build.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tracer")
			cmd := exec.Command("go", "build", "-o", path, "tracer")
			cmd.Env = append(os.Environ(), build.cgo)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := isDynamic(t, path); got != build.dynamic {
				t.Fatalf("dynamically linked: %t, want %t", got, build.dynamic)
			}
			for _, args := range [][]string{{"exec", "--json"}, {"conn", "--json", "--", "sleep", "100"}} {
				r := kit.StartCmd(t, exec.Command(path, args...))
				command := slices.Contains(args, "--")
				checkDropped(t, r, command, 0)
				if err := r.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				end := r.Note(func(e kit.Event) bool { return e["event"] == "end" })
				if end["lost"] != 0.0 {
					t.Errorf("%v: %v", args, end)
				}
				for _, note := range r.Notes {
					if note["event"] == "warning" {
						t.Errorf("%v: %v", args, note)
					}
				}
			}
		})
	}
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
