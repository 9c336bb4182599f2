package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"

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
	pollRecords = 2000                  // are to be found in a look, or
	pollShare   = 8                     // of all room, a part of so many
	pollLeast   = 5 * time.Millisecond  // between two looks, and
	pollMost    = 75 * time.Millisecond // at most: an event is told within 100 ms
	pollBlind   = 30 * time.Millisecond // at most, where programs do not wake who dozes
	pollsIdle   = 10                    // without a record before the reader waits
)

const (
	batchBytes  = 256 << 10
	batchCount  = 16
	sampleBytes = 128 << 10 // the largest record of any program fits
)

// A Batch holds records of one object as they came, one after the other.
type Batch struct {
	from *reader
	buf  []byte
	ends []int // where each record ends in buf
}

// Object is the number of the object whose records they are.
func (b *Batch) Object() int { return b.from.object }

// each calls f with each record, which is valid until f returns.
func (b *Batch) each(f func([]byte)) {
	b.from.waiting.Add(-1)
	start := 0
	for _, end := range b.ends {
		f(b.buf[start:end:end])
		start = (end + 7) &^ 7
	}
}

// A reader copies records out of a source into batches and does nothing else.
// There are batchCount batches: when the pipeline falls behind by that much the
// reader stops, the source fills, and the programs count what they cannot send.
type reader struct {
	source
	object int            // its number
	state  *ebpf.Variable // reader_state of the programs
	full   chan<- *Batch
	free   chan *Batch
	quit   chan struct{}

	waiting  atomic.Int64  // batches in full
	draining atomic.Bool   // records may be out of the source and not in full yet
	drained  atomic.Uint64 // boot clock: what came before is in full
	seen     uint64        // the pipeline's: see horizon
}

func newReader(object int, from source, state *ebpf.Variable, full chan<- *Batch) *reader {
	r := &reader{
		source: from,
		object: object,
		state:  state,
		full:   full,
		free:   make(chan *Batch, batchCount),
		quit:   make(chan struct{}),
	}
	for range batchCount {
		r.free <- &Batch{from: r}
	}
	return r
}

// run reads until stop is called, then what is left. It returns why it stopped
// before.
func (r *reader) run() error {
	if err := r.poll(); !errors.Is(err, perf.ErrFlushed) {
		return fmt.Errorf("read records: %w", err)
	}
	return nil
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
	began := Now()
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
		r.waiting.Add(1)
		r.full <- b
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
		r.drained.Store(r.taken(began))
	}
	return n, bytes, err
}

// horizon: see Object.Horizon.
func (r *reader) horizon() uint64 {
	now, drained := Now(), r.drained.Load()
	if idle := r.idle(now); idle > drained && !r.draining.Load() {
		drained = idle
	}
	if r.waiting.Load() > 0 {
		return r.seen
	}
	r.seen = max(r.seen, drained)
	return r.seen
}

// stop makes run read what is there now and return. It must be called once.
func (r *reader) stop() error {
	close(r.quit)
	return r.flush()
}
