package trace

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// The reader drains its ring on a timer, because programs do not wake it: the
// wake-up of a reader costs the traced process more than all the rest.
const (
	pollBusy = 10 * time.Millisecond // while records come
	pollIdle = 40 * time.Millisecond // bounds how late a lone event is shown
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
	ring *ringbuf.Reader
	full chan *batch
	free chan *batch
	quit chan struct{}
	err  error // why it stopped, valid when full is closed
}

func newReader(m *ebpf.Map) (*reader, error) {
	ring, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, fmt.Errorf("create reader: %w", err)
	}
	r := &reader{
		ring: ring,
		full: make(chan *batch, batchCount),
		free: make(chan *batch, batchCount),
		quit: make(chan struct{}),
	}
	for range batchCount {
		r.free <- &batch{}
	}
	// A deadline that has passed: read what is there, never wait for more.
	ring.SetDeadline(time.Unix(1, 0))
	return r, nil
}

// run reads until stop is called, then what is left, and closes r.full.
func (r *reader) run() {
	defer close(r.full)
	poll := pollBusy
	timer := time.NewTimer(poll)
	defer timer.Stop()
	for {
		last := false
		select {
		case <-timer.C:
		case <-r.quit:
			last = true
		}
		n, err := r.drain()
		if err != nil {
			r.err = fmt.Errorf("read ring: %w", err)
			return
		}
		if last {
			return
		}
		if n > 0 {
			poll = pollBusy
		} else {
			poll = min(2*poll, pollIdle)
		}
		timer.Reset(poll)
	}
}

// drain copies all records that are in the ring and says how many there were.
func (r *reader) drain() (n int, err error) {
	var rec ringbuf.Record
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
			if err = r.ring.ReadInto(&rec); err != nil {
				break
			}
			// ReadInto leaves the buffer if a sample is larger than what
			// is left of it, which no record is: sampleBytes.
			end := start + min(len(rec.RawSample), sampleBytes)
			b.buf = b.buf[:end]
			b.ends = append(b.ends, end)
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
	}
	return n, err
}

// stop makes run read what is in the ring now and return. It must be called
// once.
func (r *reader) stop() { close(r.quit) }

func (r *reader) close() error { return r.ring.Close() }
