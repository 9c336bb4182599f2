package trace

import (
	"slices"
	"testing"
	"time"

	"tracer/bpf"
)

func TestReaderLooksAsOftenAsRecordsCome(t *testing.T) {
	for _, c := range []struct {
		n    int
		came time.Duration
		want time.Duration
	}{
		{0, 0, pollMost},
		{0, time.Hour, pollMost},
		{1, pollInterval, pollMost},
		{200, pollInterval, pollMost},
		{500, pollInterval, 40 * time.Millisecond},
		{pollRecords, pollInterval, pollInterval},
		{pollRecords, pollMost, pollMost},
		{5 * pollRecords, pollMost, 20 * time.Millisecond},
		{10 * pollRecords, pollInterval, pollLeast},
		{pollRecords, 0, pollLeast},
		{1, 24 * time.Hour, pollMost}, // a machine that slept
	} {
		if got := lookAfter(c.n, c.came); got != c.want {
			t.Errorf("%d records in %v: the next look after %v, want %v", c.n, c.came, got, c.want)
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
