package trace

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// While records come the reader drains its ring on a timer, because programs do
// not wake it: the wake-up of a reader costs the traced process more than all
// the rest. When none have come for a while it asks to be woken by the next and
// costs nothing.
const (
	pollInterval = 10 * time.Millisecond
	pollsIdle    = 10 // without a record before the reader waits
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

// A reader copies records out of one ring into batches and does nothing else.
// There are batchCount batches: when the pipeline falls behind by that much the
// reader stops, the ring fills, and the programs count what they cannot send.
type reader struct {
	ring  *ringbuf.Reader
	waits *ebpf.Variable // reader_waits of the programs
	full  chan *batch
	free  chan *batch
	quit  chan struct{}
	err   error // why it stopped, valid when full is closed

	draining atomic.Bool   // records may be out of the ring and not in full yet
	drained  atomic.Uint64 // boot clock: what came before is in full
	seen     uint64        // the pipeline's: see horizon
}

func newReader(m *ebpf.Map, waits *ebpf.Variable) (*reader, error) {
	ring, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, fmt.Errorf("create reader: %w", err)
	}
	r := &reader{
		ring:  ring,
		waits: waits,
		full:  make(chan *batch, batchCount),
		free:  make(chan *batch, batchCount),
		quit:  make(chan struct{}),
	}
	for range batchCount {
		r.free <- &batch{}
	}
	return r, nil
}

// poll is a deadline that has passed: read what is there, do not wait for more.
var poll = time.Unix(1, 0)

// run reads until stop is called, then what is left, and closes r.full.
func (r *reader) run() {
	defer close(r.full)
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	for idle := 0; ; {
		select {
		case <-timer.C:
		case <-r.quit:
		}
		n, err := r.drain(poll)
		if idle++; n > 0 {
			idle = 0
		}
		if err == nil && idle >= pollsIdle {
			idle = 0
			err = r.wait()
		}
		if err != nil {
			if !errors.Is(err, ringbuf.ErrFlushed) {
				r.err = fmt.Errorf("read ring: %w", err)
			}
			return
		}
		timer.Reset(pollInterval)
	}
}

// wait returns when a program has sent a record, or with ErrFlushed when stop is
// called. What came before the programs knew that they have to wake the reader
// is read first.
func (r *reader) wait() error {
	if err := r.waits.Set(uint32(1)); err != nil {
		return err
	}
	n, err := r.drain(poll)
	if n == 0 && err == nil {
		_, err = r.drain(time.Time{})
	}
	return err
}

// drain copies all records that are in the ring and says how many there were.
// If there are none it waits for the first until the deadline, or for ever if
// that is zero.
func (r *reader) drain(deadline time.Time) (n int, err error) {
	var rec ringbuf.Record
	began := bootNow()
	r.draining.Store(true)
	defer r.draining.Store(false)
	r.ring.SetDeadline(deadline)
	for err == nil {
		b := <-r.free
		if b.buf == nil {
			b.buf = make([]byte, 0, batchBytes+sampleBytes)
		}
		b.buf, b.ends = b.buf[:0], b.ends[:0]
		for len(b.buf) < batchBytes {
			// Samples begin at multiples of eight, as records want it.
			start := (len(b.buf) + 7) &^ 7
			rec.RawSample = b.buf[start:start:cap(b.buf)]
			r.draining.Store(!deadline.IsZero()) // not while it waits
			err = r.ring.ReadInto(&rec)
			r.draining.Store(true)
			if err != nil {
				break
			}
			// ReadInto leaves the buffer if a sample is larger than what
			// is left of it, which no record is: sampleBytes.
			end := start + min(len(rec.RawSample), sampleBytes)
			b.buf = b.buf[:end]
			b.ends = append(b.ends, end)
			// The first record is here: take the others, then return.
			if deadline.IsZero() {
				deadline = poll
				r.ring.SetDeadline(poll)
			}
		}
		if len(b.ends) == 0 {
			r.free <- b
			break
		}
		n += len(b.ends)
		r.full <- b
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
		r.drained.Store(began)
	}
	return n, err
}

// horizon is a moment of the boot clock: whatever was sent before has been taken
// out of full, if the caller is who does that. It only grows.
func (r *reader) horizon() uint64 {
	now, drained := bootNow(), r.drained.Load()
	nothing := r.ring.AvailableBytes() == 0 && !r.draining.Load()
	if len(r.full) > 0 {
		return r.seen
	}
	if nothing {
		drained = now
	}
	r.seen = max(r.seen, drained)
	return r.seen
}

// stop makes run read what is in the ring now and return. It must be called
// once.
func (r *reader) stop() error {
	close(r.quit)
	return r.ring.Flush()
}

func (r *reader) close() error { return r.ring.Close() }
