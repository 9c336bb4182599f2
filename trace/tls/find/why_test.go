package find

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tracer/testdata/kit"
)

// What stands in a check: libraries with how many processes have them, and what cannot be
// read with the reason. Why says the same of one process.
func TestSurveyTellsWhatIsThereAndWhy(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	dir := t.TempDir()
	goProgram, java := filepath.Join(dir, "libssl-go.so.3"), filepath.Join(dir, "libjvm.so")
	copies(t, goProgram)
	if err := os.WriteFile(java, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	// It says so in its constants, as programs with rustls do in their messages of panics.
	rust := build(t, `package main

import (
	"io"
	"os"
)

func main() {
	if len(os.Args) > 9 {
		println(os.Args[0] + "/rustls-0.23/src/conn.rs")
	}
	io.Copy(io.Discard, os.Stdin)
}
`)
	var helpers [3]*process
	for i := range helpers {
		helpers[i] = startHelper(t)
	}
	helpers[0].maps(goProgram)
	helpers[1].maps(goProgram)
	helpers[2].maps(java)
	stripped := start(t, rust, nil)
	f := noEvents(t, Options{})
	defer f.Close()
	list, _ := f.Survey()
	got := map[string]Finding{}
	for _, l := range list {
		got[l.Path] = l
	}
	for _, want := range []Finding{
		{Library: "go", Path: goProgram, Processes: 2},
		{Path: rust, Processes: 1, Why: "rustls"},
		{Path: java, Processes: 1, Why: "java"},
	} {
		if got[want.Path] != want {
			t.Errorf("%+v, want %+v", got[want.Path], want)
		}
	}
	for i, p := range append(helpers[:], stripped) {
		want := []string{"too late", "too late", "java", "rustls"}[i]
		if why := f.Why(p.pid()); why != want {
			t.Errorf("process %d: %q, want %q", i, why, want)
		}
	}
	ended := startHelper(t)
	ended.end()
	if why := f.Why(ended.pid()); why != "" {
		t.Errorf("a process that has ended: %q", why)
	}
}

// build builds a Go program that needs nothing else of its machine.
func build(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	source, path := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", path, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}
