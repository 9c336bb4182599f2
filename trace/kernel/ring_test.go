package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/perf"
)

// A fakeRing is written as the kernel does it.
type fakeRing struct {
	ring
	read, written uint64
}

func newFakeRing(size int) *fakeRing {
	f := &fakeRing{}
	f.data = make([]byte, size)
	// Far on, and near the end of the data.
	f.at = 1<<40 + uint64(size) - 24
	f.read, f.written, f.until = f.at, f.at, f.at
	f.ring.read, f.ring.written = &f.read, &f.written
	return f
}

// reserve returns where the header of a record is, whose data it has written, or
// false if there is no room.
func (f *fakeRing) reserve(record []byte, flags uint32) (header []byte, ok bool) {
	mask := uint64(len(f.data) - 1)
	size := ringHeader + (uint64(len(record))+7)&^7
	if f.written+size-f.read > mask {
		return nil, false
	}
	header = f.data[f.written&mask:][:4]
	binary.NativeEndian.PutUint32(header, uint32(len(record))|flags)
	for i, b := range record {
		f.data[(f.written+ringHeader+uint64(i))&mask] = b
	}
	f.written += size
	return header, true
}

// Records of all sizes come out as they were written, wherever the ring's end is;
// what was discarded does not, and all room is given back.
func TestRingGivesWhatWasWritten(t *testing.T) {
	const size = 1 << 18
	f := newFakeRing(size)
	r := rand.New(rand.NewPCG(1, 2))
	var want [][]byte
	got, discarded := 0, 0
	buf := make([]byte, 0, 16)
	for round := range 300 {
		for range r.IntN(200) {
			record := make([]byte, r.IntN(3000))
			for i := range record {
				record[i] = byte(r.Uint32())
			}
			flags := uint32(0)
			if r.IntN(5) == 0 {
				flags = ringDiscard
			}
			if _, ok := f.reserve(record, flags); !ok {
				break
			}
			if flags == 0 {
				want = append(want, record)
			} else {
				discarded++
			}
		}
		if err := f.begin(false); err != nil {
			t.Fatal(err)
		}
		for {
			record, err := f.next(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if got == len(want) || !bytes.Equal(record, want[got]) {
				t.Fatalf("round %d, record %d of %d: %d bytes that were not written", round, got, len(want), len(record))
			}
			got++
			if behind := f.at - f.read; behind >= ringStep {
				t.Fatalf("%d bytes are read and not given back", behind)
			}
		}
		if f.idle(7) != 7 {
			t.Fatalf("room is given back up to %d of %d", f.read, f.written)
		}
	}
	if got != len(want) || got < 10_000 || discarded < 1000 {
		t.Errorf("%d records of %d, and %d discarded", got, len(want), discarded)
	}
}

// A record that is being written is waited for: it is older than those behind it.
func TestRingWaitsForARecordThatIsBeingWritten(t *testing.T) {
	f := newFakeRing(4096)
	header, _ := f.reserve([]byte("first"), ringBusy)
	f.reserve([]byte("second"), 0)
	var committed atomic.Bool
	if err := f.begin(false); err != nil {
		t.Fatal(err)
	}
	n := (*uint32)(unsafe.Pointer(&header[0]))
	go func() {
		time.Sleep(10 * time.Millisecond)
		committed.Store(true)
		atomic.StoreUint32(n, 5)
	}()
	for _, want := range []string{"first", "second"} {
		record, err := f.next(nil)
		if err != nil || string(record) != want || !committed.Load() {
			t.Fatalf("%q, %v, want %q", record, err, want)
		}
	}
}

// What was sent before flush is read after it.
func TestRingIsReadToItsEndAfterFlush(t *testing.T) {
	f := newFakeRing(4096)
	f.reserve([]byte("before begin"), 0)
	if err := f.begin(false); err != nil {
		t.Fatal(err)
	}
	f.reserve([]byte("before flush"), 0)
	f.flushed.Store(true)
	for _, want := range []string{"before begin", "before flush"} {
		if record, err := f.next(nil); err != nil || string(record) != want {
			t.Fatalf("%q, %v, want %q", record, err, want)
		}
	}
	if _, err := f.next(nil); !errors.Is(err, perf.ErrFlushed) {
		t.Error(err)
	}
}
