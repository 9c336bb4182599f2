package trace

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"

	"tracer/bpf"
)

// While records come the reader drains its source on a timer, because programs
// do not wake it: the wake-up of a reader costs the traced process more than all
// the rest. When none have come for a while it asks to be woken by the next and
// costs nothing.
//
// Most of what a look costs is its own: waking up, with cold caches. How long after
// one the next is depends on how many records come. In a longer pause the programs of
// a ring wake the reader once a quarter of it waits.
const (
	pollRecords  = 2000                  // are to be found in a look, or
	pollShare    = 8                     // of all room, a part of so many
	pollLeast    = 5 * time.Millisecond  // between two looks, and
	pollMost     = 75 * time.Millisecond // at most: an event is told within 100 ms
	pollBlind    = 30 * time.Millisecond // at most, where programs do not wake who dozes
	pollInterval = 10 * time.Millisecond // where it is not known how many will come
	pollsIdle    = 10                    // without a record before the reader waits
)

const (
	batchBytes  = 256 << 10
	batchCount  = 16
	sampleBytes = 128 << 10 // the largest record of any program fits
)

// batch holds samples as they came, one after the other.
type batch struct {
	buf  []byte
	ends []int // where each sample ends in buf
}

// samples calls f with each sample; a sample is valid until f returns.
func (b *batch) samples(f func([]byte)) {
	start := 0
	for _, end := range b.ends {
		f(b.buf[start:end:end])
		start = (end + 7) &^ 7
	}
}

// A source is where records come from: a ring, or perf buffers. One goroutine
// takes them; idle and flush may be called by others, close when nobody takes
// any more.
type source interface {
	// begin readies next to take what is there now. With wait, and if nothing
	// is there, it or next returns when a program has woken the reader.
	begin(wait bool) error
	// next copies the next record to the start of buf, or into a larger one.
	// It returns [os.ErrDeadlineExceeded] when all are taken, and
	// [perf.ErrFlushed] when they are after flush.
	next(buf []byte) ([]byte, error)
	// taken is a moment of the boot clock: what was sent before has been taken,
	// once next has told that all are, if begin was called at this time.
	taken(began uint64) uint64
	// idle is such a moment as well, if nothing is there to be taken, else 0.
	idle(now uint64) uint64
	// room is how many bytes have room, of one CPU at least.
	room() int
	flush() error
	close() error
}

// A dozer is a source whose programs wake the reader in time, though it does not
// wait for the next record.
type dozer interface {
	// doze returns after a while; earlier if a quarter of all room has filled, or
	// after flush.
	doze(while time.Duration) error
}

// A reader copies records out of a source into batches and does nothing else.
// There are batchCount batches: when the pipeline falls behind by that much the
// reader stops, the source fills, and the programs count what they cannot send.
type reader struct {
	source
	state *ebpf.Variable // reader_state of the programs
	full  chan *batch
	free  chan *batch
	quit  chan struct{}
	err   error // why it stopped, valid when full is closed

	draining atomic.Bool   // records may be out of the source and not in full yet
	drained  atomic.Uint64 // boot clock: what came before is in full
	seen     uint64        // the pipeline's: see horizon
}

func newReader(from source, state *ebpf.Variable) *reader {
	r := &reader{
		source: from,
		state:  state,
		full:   make(chan *batch, batchCount),
		free:   make(chan *batch, batchCount),
		quit:   make(chan struct{}),
	}
	for range batchCount {
		r.free <- &batch{}
	}
	return r
}

// run reads until stop is called, then what is left, and closes r.full.
func (r *reader) run() {
	defer close(r.full)
	if err := r.poll(); !errors.Is(err, perf.ErrFlushed) {
		r.err = fmt.Errorf("read records: %w", err)
	}
}

// poll returns why nothing more can be read.
func (r *reader) poll() error {
	last, next := time.Now(), pollInterval
	for idle := 0; ; {
		if err := r.doze(next); err != nil {
			return err
		}
		n, bytes, err := r.drain(false)
		now := time.Now()
		last, next = now, lookAfter(n, float64(bytes)/float64(r.room()), now.Sub(last))
		if idle++; n > 0 {
			idle = 0
		}
		if err == nil && idle >= pollsIdle {
			idle = 0
			err = r.wait()
			last, next = time.Now(), pollInterval // what has woken it may be the first of many
		}
		if err != nil {
			return err
		}
	}
}

// doze lets time pass until the next look.
func (r *reader) doze(while time.Duration) error {
	d, ok := r.source.(dozer)
	if !ok || while <= pollInterval {
		select {
		case <-time.After(min(while, pollBlind)):
		case <-r.quit:
		}
		return nil
	}
	if err := r.state.Set(bpf.ExecReaderDozes); err != nil {
		return err
	}
	if err := d.doze(while); err != nil {
		return err
	}
	return r.state.Set(bpf.ExecReaderPolls)
}

// lookAfter is how long after a look the next one is, if it found n records, which
// came in a while and took a share of all room.
func lookAfter(n int, share float64, while time.Duration) time.Duration {
	if n == 0 {
		return pollMost
	}
	enough := max(float64(n)/pollRecords, share*pollShare)
	return min(max(time.Duration(float64(while)/enough), pollLeast), pollMost)
}

// wait returns when a program has sent a record, or with ErrFlushed when stop is
// called. What came before the programs knew that they have to wake the reader
// is read first.
func (r *reader) wait() error {
	if err := r.state.Set(bpf.ExecReaderWaits); err != nil {
		return err
	}
	n, _, err := r.drain(false)
	if n == 0 && err == nil {
		_, _, err = r.drain(true)
	}
	return err
}

// drain copies all records that are there and says how many there were, and of how
// many bytes. With wait it waits for the first if there are none.
func (r *reader) drain(wait bool) (n, bytes int, err error) {
	began := bootNow()
	r.draining.Store(!wait) // not while it waits
	defer r.draining.Store(false)
	err = r.begin(wait)
	for err == nil {
		b := <-r.free
		if b.buf == nil {
			b.buf = make([]byte, 0, batchBytes+sampleBytes)
		}
		b.buf, b.ends = b.buf[:0], b.ends[:0]
		for len(b.buf) < batchBytes {
			// Samples begin at multiples of eight, as records want it.
			start := (len(b.buf) + 7) &^ 7
			var record []byte
			record, err = r.next(b.buf[start:start:cap(b.buf)])
			r.draining.Store(true)
			if err != nil {
				break
			}
			// next leaves the buffer if a sample is larger than what is
			// left of it, which no record is: sampleBytes.
			end := start + min(len(record), sampleBytes)
			b.buf = b.buf[:end]
			b.ends = append(b.ends, end)
		}
		if len(b.ends) == 0 {
			r.free <- b
			break
		}
		n += len(b.ends)
		bytes += len(b.buf)
		r.full <- b
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
		r.drained.Store(r.taken(began))
	}
	return n, bytes, err
}

// horizon is a moment of the boot clock: whatever was sent before has been taken
// out of full, if the caller is who does that. It only grows.
func (r *reader) horizon() uint64 {
	now, drained := bootNow(), r.drained.Load()
	if idle := r.idle(now); idle > drained && !r.draining.Load() {
		drained = idle
	}
	if len(r.full) > 0 {
		return r.seen
	}
	r.seen = max(r.seen, drained)
	return r.seen
}

// While it handles what one look has found, which takes a millisecond or more, a
// session gives way to others every few records: who waits for the processor is
// mostly who is traced. It does not when it is behind, nor for a while after it
// had to wait long itself: then all processors are busy, and the scheduler gives
// each who waits a whole slice of time.
const (
	yieldRecords = 16 // some 30 µs
	yieldBehind  = 3  // batches that wait
	yieldLong    = time.Millisecond
	yieldPause   = 100 * time.Millisecond
)

// A yielder gives way; the zero value is ready.
type yielder struct {
	again time.Time // not before
}

func (y *yielder) yield() {
	began := time.Now()
	if began.Before(y.again) {
		return
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // cannot fail
	if time.Since(began) > yieldLong {
		y.again = began.Add(yieldPause)
	}
}

// stop makes run read what is there now and return. It must be called once.
func (r *reader) stop() error {
	close(r.quit)
	return r.flush()
}

// poll is a deadline that has passed: read what is there, do not wait for more.
var poll = time.Unix(1, 0)
