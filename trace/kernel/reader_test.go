package kernel

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"tracer/bpf"
	"tracer/testdata/kit"
)

func TestReaderLooksAsOftenAsRecordsCome(t *testing.T) {
	for _, c := range []struct {
		n     int
		share float64
		came  time.Duration
		want  time.Duration
	}{
		{0, 0, 0, pollMost},
		{0, 0, time.Hour, pollMost},
		{1, 0.0001, pollInterval, pollMost},
		{200, 0.01, pollInterval, pollMost},
		{500, 0.02, pollInterval, 40 * time.Millisecond},
		{pollRecords, 0.05, pollInterval, pollInterval},
		{pollRecords, 0.05, pollMost, pollMost},
		{5 * pollRecords, 0.25, pollMost, 15 * time.Millisecond},
		{10 * pollRecords, 0.5, pollInterval, pollLeast},
		{100, 1, 80 * time.Millisecond, 10 * time.Millisecond}, // few, and there was no more room
		{pollRecords, 0.05, 0, pollLeast},
		{1, 0.0001, 1000 * time.Hour, pollMost},
	} {
		if got := lookAfter(c.n, c.share, c.came); got != c.want {
			t.Errorf("%d records, %v of all room in %v: the next look after %v, want %v", c.n, c.share, c.came, got, c.want)
		}
	}
}

// A kernel without casts must not be asked for them: none is left, and all else
// stays where it was.
func TestCastsAreDropped(t *testing.T) {
	spec, err := bpf.LoadConn()
	if err != nil {
		t.Fatal(err)
	}
	casts := 0
	for name, p := range spec.Programs {
		before := slices.Clone(p.Instructions)
		dropCasts(p.Instructions)
		for i, ins := range p.Instructions {
			was := before[i]
			if was.IsKfuncCall() {
				casts++
			} else if ins.OpCode == was.OpCode {
				continue
			}
			if ins.IsKfuncCall() || !was.IsKfuncCall() || ins.Symbol() != was.Symbol() || ins.Reference() != "" {
				t.Errorf("%s: instruction %d is %v, was %v", name, i, ins, was)
			}
		}
	}
	if casts == 0 {
		t.Error("no program has a cast")
	}
}

// A reader that dozes is woken when a quarter of the ring has filled, not by the
// first record, and by flush.
func TestKernelRingWakesWhoDozes(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	const size = 1 << 18
	k, err := Open(Options{Buffer: BufferRing, Limits: Limits{RingBytes: size}})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	o, err := k.Load(Plan{
		Name: "conn", Ring: bpf.ConnMapEvents,
		Features: []Feature{{Name: "connections", Doors: []Door{{Tier: Tracepoint, Programs: []string{bpf.ConnProgConnSetState, bpf.ConnProgConnDestroy}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := o.records.(*ring)
	filled := func() uint64 { _ = r.begin(false); return r.until - r.at }
	doze := func() chan error {
		if err := o.reader.state.Set(bpf.ExecReaderDozes); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- r.doze(time.Hour) }()
		return done
	}
	ended := func(done chan error) {
		t.Helper()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("it sleeps on; %d of %d bytes are filled", filled(), size)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connects := 0
	connect := func() {
		t.Helper()
		if connects++; connects > size/100 {
			t.Fatalf("%d connections have filled %d bytes", connects, filled())
		}
		out, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		out.Close()
		in.Close()
	}

	done := doze()
	for filled() < size/8 {
		connect()
	}
	var state bpf.ExecReader
	if err := o.reader.state.Get(&state); err != nil || state != bpf.ExecReaderDozes || len(done) > 0 {
		t.Errorf("an eighth has filled: state %d, %v, woken %t", state, err, len(done) > 0)
	}
	for filled() < size/3 {
		connect()
	}
	ended(done)
	if err := o.reader.state.Get(&state); err != nil || state != bpf.ExecReaderPolls {
		t.Errorf("a third has filled: state %d, %v", state, err)
	}

	for err == nil { // as the reader does
		_, err = r.next(nil)
	}
	done = doze()
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	ended(done)
	ended(doze()) // and from then on
}

// What cannot be opened is nothing to close, either.
func TestKernelBufferThatCannotBeOpenedIsNil(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	for _, b := range []Buffer{BufferRing, BufferPerf} {
		if source, err := b.open(m, m, nil, 1<<20); err == nil || source != nil {
			t.Errorf("%s: %v, %v", b, source, err)
		}
	}
}
