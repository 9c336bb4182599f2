package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"

	"tracer/bpf"
)

// IsRecord reports whether a sample is a record of this size. A perf buffer adds
// a few bytes to make up a multiple of eight.
func IsRecord(sample []byte, size uintptr) bool {
	return len(sample) >= int(size) && len(sample) < int(size)+8
}

const (
	// settling is how old a record has to be before it is passed on. What it
	// follows from was sent before it, hence is there when all buffers have
	// been looked at; this is for clocks of CPUs that are not quite equal.
	settling = time.Millisecond
	// leastBuffer is the size below which a buffer is of no use.
	leastBuffer = 64 << 10
)

// perfBuffers are perf event arrays: each CPU has a buffer, in which its records
// are in order. Those of all CPUs are brought into order by the time that stands
// first in each. What a buffer has no room for is counted by the program that
// sends it: the buffer's own count would tell the same again.
type perfBuffers struct {
	events *perf.Reader
	bell   *perf.Reader   // wakes the reader; nil: events does
	state  *ebpf.Variable // reader_state of the programs, if there is a bell

	rec    perf.Record
	asleep atomic.Bool // nothing is held nor was there when the bell was asked for
	size   int         // of a buffer, in bytes
	limit  int         // bytes that may be held
	ended  error       // why nothing more will come

	buf   []byte         // records that were read
	held  []heldRecord   // where they are
	ready int            // so many of them are in order, and
	took  int            // so many of those were taken
	past  uint64         // all that were sent before are among them
	last  map[int]uint64 // when a CPU sent its last
	spare []byte         // the other buf
}

type heldRecord struct {
	sent       uint64
	start, end int // in buf
}

// newPerfBuffers makes buffers of this size for each CPU.
func newPerfBuffers(events, bell *ebpf.Map, state *ebpf.Variable, size int) (*perfBuffers, error) {
	p := &perfBuffers{state: state, last: map[int]uint64{}}
	var opts perf.ReaderOptions
	var err error
	if bell != nil {
		if p.bell, err = perf.NewReader(bell, 1); err != nil {
			return nil, fmt.Errorf("create reader: %w", err)
		}
	}
	// Without CAP_IPC_LOCK they count against RLIMIT_MEMLOCK, beyond 512 KiB each.
	for {
		if bell != nil {
			opts.Watermark = size - 1 // nobody is woken: the reader looks by itself
		}
		if p.events, err = perf.NewReaderWithOptions(events, size, opts); err == nil {
			break
		}
		if size /= 2; size < leastBuffer {
			_ = p.close()
			return nil, fmt.Errorf("create reader: %w", err)
		}
	}
	p.size = size
	p.limit = 2 * size * int(events.MaxEntries())
	return p, nil
}

func (p *perfBuffers) room() int { return p.size }

func (p *perfBuffers) begin(wait bool) error {
	if wait {
		if err := p.wait(); err != nil {
			return err
		}
	}
	return p.pass()
}

// wait returns when something has come, or may have.
func (p *perfBuffers) wait() error {
	if p.bell == nil {
		deadline := time.Time{}
		if len(p.held) > 0 {
			deadline = time.Now().Add(2 * settling)
		}
		if err := p.read(deadline); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		return nil
	}
	// A program may have sent a record just when it was told to wake the
	// reader: each may have missed what the other wrote, but not for long.
	rung, err := p.listen(time.Now().Add(pollInterval))
	if rung || err != nil {
		return err
	}
	if err := p.pass(); err != nil || len(p.held) > 0 || p.ended != nil {
		return err
	}
	p.asleep.Store(true)
	defer p.asleep.Store(false)
	_, err = p.listen(time.Time{})
	return err
}

// listen waits for the bell and tells whether it was rung, or everything is to
// end.
func (p *perfBuffers) listen(deadline time.Time) (bool, error) {
	for rung := false; ; rung = true {
		p.bell.SetDeadline(deadline)
		err := p.bell.ReadInto(&p.rec)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return rung, nil
		case errors.Is(err, perf.ErrFlushed):
			return true, nil
		case err != nil:
			return false, err
		}
		deadline = poll // take note of all that rang
	}
}

// pass reads what is in the buffers and readies what nothing unread belongs
// before.
func (p *perfBuffers) pass() error {
	p.drop()
	began := Now()
	for {
		switch err := p.read(poll); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.past = began - uint64(settling)
			p.order(p.past)
			return nil
		case err != nil:
			return err
		case p.ended != nil, len(p.buf) >= p.limit: // in order as far as is known
			p.order(^uint64(0))
			return nil
		}
	}
}

// read reads the next record of any CPU.
func (p *perfBuffers) read(deadline time.Time) error {
	p.events.SetDeadline(deadline)
	err := p.events.ReadInto(&p.rec)
	switch {
	case errors.Is(err, perf.ErrFlushed):
		p.ended = err // all were read
		return nil
	case err == nil && p.rec.LostSamples == 0:
		p.hold(p.rec.CPU, p.rec.RawSample)
	}
	return err
}

// hold keeps a record of a CPU.
func (p *perfBuffers) hold(cpu int, record []byte) {
	if len(record) < 8 {
		return
	}
	// Behind those that the CPU sent before, whatever it says.
	sent := max(binary.NativeEndian.Uint64(record), p.last[cpu])
	p.last[cpu] = sent
	start := len(p.buf)
	p.buf = append(p.buf, record...)
	p.held = append(p.held, heldRecord{sent, start, len(p.buf)})
}

// order readies the records that were sent until then.
func (p *perfBuffers) order(until uint64) {
	slices.SortFunc(p.held, func(a, b heldRecord) int {
		return cmp.Or(cmp.Compare(a.sent, b.sent), cmp.Compare(a.start, b.start))
	})
	for p.ready = 0; p.ready < len(p.held) && p.held[p.ready].sent <= until; p.ready++ {
	}
}

// drop forgets the records that were taken.
func (p *perfBuffers) drop() {
	kept := p.spare[:0]
	for i, h := range p.held[p.took:] {
		start := len(kept)
		kept = append(kept, p.buf[h.start:h.end]...)
		p.held[i] = heldRecord{h.sent, start, len(kept)}
	}
	p.held = p.held[:len(p.held)-p.took]
	p.buf, p.spare = kept, p.buf
	p.ready, p.took = 0, 0
}

func (p *perfBuffers) next(buf []byte) ([]byte, error) {
	if p.took == p.ready {
		if p.ended != nil {
			return nil, p.ended
		}
		return nil, os.ErrDeadlineExceeded
	}
	h := p.held[p.took]
	p.took++
	return append(buf[:0], p.buf[h.start:h.end]...), nil
}

func (p *perfBuffers) taken(uint64) uint64 { return p.past }

// idle tells by the programs' own word that nobody has sent anything: who does
// takes it back.
func (p *perfBuffers) idle(now uint64) uint64 {
	var state bpf.ExecReader
	if !p.asleep.Load() || p.state.Get(&state) != nil || state == bpf.ExecReaderPolls {
		return 0
	}
	return now - uint64(settling)
}

func (p *perfBuffers) flush() error {
	if p.bell == nil {
		return p.events.Flush()
	}
	return errors.Join(p.events.Flush(), p.bell.Flush())
}

func (p *perfBuffers) close() error {
	var err error
	for _, r := range []*perf.Reader{p.events, p.bell} {
		if r != nil {
			err = errors.Join(err, r.Close())
		}
	}
	return err
}
