package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
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
