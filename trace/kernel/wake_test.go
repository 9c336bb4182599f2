package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/trace/event"
	probe "tracer/trace/exec"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// byPerf traces what this process starts, by perf buffers.
func byPerf() session.Options {
	return session.Options{
		Filter: session.Filter{PIDs: []uint32{uint32(os.Getpid())}},
		Buffer: kernel.BufferPerf,
	}
}

// Processes of several generations on all CPUs: each is told, its exec before its
// exit and before those of its children.
func TestKernelPerfBuffersKeepTheOrderOfProcesses(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	const workers = 4
	n := 499
	if kit.Emulated() {
		n = 53
	}
	r := record.Start(t, probe.Probe, byPerf(), "--exits")
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for range n {
				if err := exec.Command("/bin/sh", "-c", "/bin/true; /bin/true; exit 0").Run(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	r.Stop()
	ppids, execs, exits := map[uint32]uint32{}, map[uint32]int{}, map[uint32]int{}
	for i, e := range r.Events() {
		pid := e.Head().PID
		switch e := e.(type) {
		case *event.Exec:
			if _, again := execs[pid]; !again {
				execs[pid] = i
			}
			ppids[pid] = e.PPID
		case *event.Exit:
			if _, again := exits[pid]; again {
				t.Errorf("process %d ended twice", pid)
			}
			exits[pid] = i
		}
	}
	if want := 3 * workers * n; len(execs) != want || len(exits) < want {
		t.Errorf("%d execs, %d exits, want %d", len(execs), len(exits), want)
	}
	for pid, at := range execs {
		if exit, ok := exits[pid]; !ok || exit < at {
			t.Errorf("process %d: exec is number %d, exit %d", pid, at, exit)
		}
		if parent, ok := execs[ppids[pid]]; ok && parent > at {
			t.Errorf("process %d: exec is number %d, that of its parent %d", pid, at, parent)
		}
	}
}

// Who sleeps is woken by the next event, without a look at the clock.
func TestKernelPerfBuffersWakeTheirReader(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := record.Start(t, probe.Probe, byPerf())
	for i := range 5 {
		kit.Eventually(t, "the reader does not go to sleep", func() error {
			if !r.Host.Asleep() {
				return errors.New("it polls")
			}
			return nil
		})
		began := time.Now()
		if err := exec.Command("/bin/true").Run(); err != nil {
			t.Fatal(err)
		}
		if !r.Wait(record.Patience, func() bool { return len(r.Events()) > i }) {
			t.Fatal("the event did not come")
		}
		t.Logf("shown %s later, its own time included", time.Since(began))
	}
	r.Stop()
	if n := len(r.Events()); n != 5 {
		t.Errorf("%d execs: %v", n, fmt.Sprint(r.Events()))
	}
}
