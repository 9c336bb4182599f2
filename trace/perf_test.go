package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"tracer/trace/event"
)

func TestBufferIsPickedByTrial(t *testing.T) {
	none := fmt.Errorf("create map: %w", ebpf.ErrNotSupported)
	unknown := errors.New("operation not permitted")
	for _, c := range []struct {
		asked Buffer
		trial error
		want  Buffer
	}{
		{BufferAuto, nil, BufferRing},
		{BufferAuto, none, BufferPerf},
		{BufferAuto, unknown, BufferRing}, // loading says why not
		{BufferRing, nil, BufferRing},
		{BufferRing, unknown, BufferRing},
		{BufferPerf, nil, BufferPerf},
		{BufferPerf, none, BufferPerf},
	} {
		if got, err := c.asked.pick(func() error { return c.trial }); got != c.want || err != nil {
			t.Errorf("%s where the trial says %v: %s, %v; want %s", c.asked, c.trial, got, err, c.want)
		}
	}
	_, err := BufferRing.pick(func() error { return none })
	if err == nil || err.Error() != "this kernel has no ring buffers (they came with 5.8): leave --buffer out, or pass --buffer perf" {
		t.Errorf("a ring where there is none: %v", err)
	}
}

// sentAt is a record of n bytes, with its number behind the time.
func sentAt(sent uint64, number, n int) []byte {
	b := binary.NativeEndian.AppendUint64(nil, sent)
	b = binary.NativeEndian.AppendUint32(b, uint32(number))
	return append(b, make([]byte, n-len(b))...)
}

func TestPerfBuffersPutRecordsInOrder(t *testing.T) {
	type sample struct {
		cpu  int
		sent uint64
	}
	for name, c := range map[string]struct {
		passes [][]sample
		until  []uint64 // what was sent until then is there, after each
		want   []string // numbers of the records, as they leave
	}{
		"those of two CPUs by time": {
			[][]sample{{{0, 10}, {0, 30}, {1, 20}, {1, 40}}}, []uint64{50}, []string{"0 2 1 3"}},
		"of one CPU as they came, whatever their time": {
			[][]sample{{{0, 30}, {0, 10}, {1, 20}, {1, 40}}}, []uint64{50}, []string{"2 0 1 3"}},
		"at the same time as they came": {
			[][]sample{{{1, 10}, {0, 10}, {1, 10}}}, []uint64{50}, []string{"0 1 2"}},
		"too young ones wait for those that belong before": {
			[][]sample{{{0, 10}, {0, 30}}, {{1, 20}, {1, 60}}, nil}, []uint64{25, 50, 70}, []string{"0", "2 1", "3"}},
		"a late one leaves at once": {
			[][]sample{{{0, 30}}, {{1, 20}}}, []uint64{40, 50}, []string{"0", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &perfBuffers{last: map[int]uint64{}}
			n := 0
			for i, pass := range c.passes {
				p.drop()
				for _, s := range pass {
					p.hold(s.cpu, sentAt(s.sent, n, 12+n%7))
					n++
				}
				p.order(c.until[i])
				var got []string
				for {
					b, err := p.next(nil)
					if err != nil {
						break
					}
					got = append(got, fmt.Sprint(binary.NativeEndian.Uint32(b[8:])))
				}
				if got := strings.Join(got, " "); got != c.want[i] {
					t.Errorf("pass %d: %q, want %q", i, got, c.want[i])
				}
			}
			if p.drop(); len(p.held) != 0 || len(p.buf) != 0 {
				t.Errorf("%d records, %d bytes stay", len(p.held), len(p.buf))
			}
		})
	}
}

// Whatever comes in whatever passes, each record leaves once and whole, and those
// of a CPU as they came.
func FuzzPerfBuffers(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0, 9, 8, 7, 255, 4, 4, 4})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &perfBuffers{last: map[int]uint64{}}
		cpuOf := []int{}
		var got []int
		take := func() {
			for {
				b, err := p.next(nil)
				if err != nil {
					return
				}
				n := int(binary.NativeEndian.Uint32(b[8:]))
				if n >= len(cpuOf) || len(b) != 12+n%9 {
					t.Fatalf("record %d of %d bytes", n, len(b))
				}
				got = append(got, n)
			}
		}
		var until uint64
		for _, d := range data {
			if d == 255 { // a pass ends
				until += 60
				p.order(until)
				take()
				p.drop()
				continue
			}
			p.hold(int(d&3), sentAt(uint64(d>>2), len(cpuOf), 12+len(cpuOf)%9))
			cpuOf = append(cpuOf, int(d&3))
		}
		p.order(^uint64(0))
		take()
		if len(got) != len(cpuOf) {
			t.Fatalf("%d records of %d", len(got), len(cpuOf))
		}
		last := map[int]int{}
		for _, n := range got {
			if before, ok := last[cpuOf[n]]; ok && before >= n {
				t.Fatalf("record %d of CPU %d came after %d", before, cpuOf[n], n)
			}
			last[cpuOf[n]] = n
		}
	})
}

// buffersOf runs a test once for each kind of buffer.
func buffersOf(t *testing.T, test func(t *testing.T, buffer Buffer)) {
	for _, b := range []Buffer{BufferRing, BufferPerf} {
		t.Run(b.String(), func(t *testing.T) { test(t, b) })
	}
}

// procs keeps the order of execs and exits.
type procs struct {
	discard
	t     *testing.T
	order []string
	ppids map[uint32]uint32
	execs map[uint32]int // where the first stands in order
	exits map[uint32]int
	more  chan struct{}
	mu    sync.Mutex
}

func newProcs(t *testing.T) *procs {
	return &procs{t: t, ppids: map[uint32]uint32{}, execs: map[uint32]int{}, exits: map[uint32]int{}, more: make(chan struct{}, 1)}
}

func (p *procs) Event(e event.Event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pid := e.Head().PID
	switch e := e.(type) {
	case *event.Exec:
		if _, again := p.execs[pid]; !again {
			p.execs[pid] = len(p.order)
		}
		p.ppids[pid] = e.PPID
		p.order = append(p.order, fmt.Sprint("exec ", pid, e.Args))
	case *event.Exit:
		if _, again := p.exits[pid]; again {
			p.t.Errorf("process %d ended twice", pid)
		}
		p.exits[pid] = len(p.order)
		p.order = append(p.order, fmt.Sprint("exit ", pid))
	}
	select {
	case p.more <- struct{}{}:
	default:
	}
	return true
}

// Processes of several generations on all CPUs: each is told, its exec before its
// exit and before those of its children.
func TestKernelPerfBuffersKeepTheOrderOfProcesses(t *testing.T) {
	needRoot(t)
	const workers = 4
	n := 499
	if os.Getenv("TRACER_VM") != "" {
		n = 53
	}
	s, err := Open(&execTracer{exits: true}, Options{
		Filter: Filter{PIDs: []uint32{uint32(os.Getpid())}},
		Buffer: BufferPerf,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sink := newProcs(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, sink) }()
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
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	a, err := s.Account()
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 * workers * n; len(sink.execs) != want || len(sink.exits) < want || a.Lost != 0 || a.Incomplete != 0 {
		t.Errorf("%d execs, %d exits, want %d: %+v", len(sink.execs), len(sink.exits), want, a)
	}
	for pid, at := range sink.execs {
		if exit, ok := sink.exits[pid]; !ok || exit < at {
			t.Errorf("process %d: exec is number %d, exit %d", pid, at, exit)
		}
		if parent, ok := sink.execs[sink.ppids[pid]]; ok && parent > at {
			t.Errorf("process %d: exec is number %d, that of its parent %d", pid, at, parent)
		}
	}
}

// Who sleeps is woken by the next event, without a look at the clock.
func TestKernelPerfBuffersWakeTheirReader(t *testing.T) {
	needRoot(t)
	s, err := Open(&execTracer{}, Options{
		Filter: Filter{PIDs: []uint32{uint32(os.Getpid())}},
		Buffer: BufferPerf,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sink := newProcs(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, sink) }()
	for range 5 {
		for deadline := time.Now().Add(20 * time.Second); s.reader.idle(bootNow()) == 0; {
			if time.Now().After(deadline) {
				t.Fatal("the reader does not go to sleep")
			}
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		if err := exec.Command("/bin/true").Run(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-sink.more:
			t.Logf("shown %s later, its own time included", time.Since(began))
		case <-time.After(20 * time.Second):
			t.Fatal("the event did not come")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a, err := s.Account(); err != nil || a.Lost != 0 || len(sink.execs) != 5 {
		t.Errorf("%d execs, %+v, %v", len(sink.execs), a, err)
	}
}
