package session_test

import (
	"fmt"
	"os"
	"testing"

	"tracer/testdata/kit"
	"tracer/trace/proc"
	"tracer/trace/session"
)

// /proc may hide processes (hidepid), or not be there: what is one is told by the kernel.
func TestPidIsAProcess(t *testing.T) {
	thread, self := uint32(kit.Thread(t)), uint32(os.Getpid())
	for _, c := range []struct {
		name, dir string
		pid       uint32
		want      string
	}{
		{"a process", "/proc", self, ""},
		{"one that is hidden", "/nonexistent", self, ""},
		{"a thread", "/proc", thread, fmt.Sprintf("--pid: %d is a thread of process %d", thread, self)},
		{"a thread that is hidden", "/nonexistent", thread, fmt.Sprintf("--pid: %d is a thread and not a process", thread)},
		{"neither", "/proc", 1 << 22, "--pid: no process 4194304"},
	} {
		err := session.Exists(proc.Dir(c.dir), c.pid)
		if got := fmt.Sprint(err); got != c.want && (err != nil || c.want != "") {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
