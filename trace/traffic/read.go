package traffic

import (
	"io"
	"math"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
)

// lookAtFiles finds out who holds sockets of which nobody has moved bytes yet.
func (t *tracer) lookAtFiles() error {
	t.look++
	if err := t.host.Set(bpf.TrafficVarLook, t.look); err != nil {
		return err
	}
	return t.reads[bpf.TrafficProgTrafficLook].Run()
}

// iterate runs an iterator. It calls f with each record that comes, in r.
func iterate[T any](t *tracer, program string, r *T, f func()) error {
	return t.reads[program].Read(func(from io.Reader) error {
		t.buf.Reset(from)
		return kernel.Records(t.buf, r, f)
	})
}

// read takes a reading of everything. What a reading lacks the next one tells:
// the last one must not fail.
func (t *tracer) read(last bool) {
	err := t.readAll(last)
	if err != nil && last {
		err = t.readAll(last)
	}
	if err != nil {
		t.host.Ledger.Lost(account.ReadingFailed, 1)
		t.host.Notice(&event.Notice{Kind: "warning", Message: "sockets could not be read: " + err.Error()})
	}
}

func (t *tracer) readAll(last bool) error {
	if last {
		if err := t.host.Set(bpf.TrafficVarTellAll, uint32(1)); err != nil {
			return err
		}
	}
	if err := t.readSockets(last); err != nil {
		return err
	}
	unknown := t.ownersAreUnknown(last)
	if unknown {
		if err := t.lookAtFiles(); err != nil {
			return err
		}
	}
	// Once more before the end, too: an end that is just coming is a byte for a
	// moment, and what was too busy to be read is given another chance.
	if unknown || last {
		if err := t.readSockets(last); err != nil {
			return err
		}
	}
	t.forgetShares()
	if t.sharing > 0 {
		var share bpf.TrafficShareRecord
		if err := iterate(t, bpf.TrafficProgTrafficReadShares, &share, func() { t.shared(&share) }); err != nil {
			return err
		}
	}
	now := kernel.Now()
	var flow bpf.TrafficFlowRecord
	err := iterate(t, bpf.TrafficProgTrafficReadFlows, &flow, func() { t.flow(&flow, now) })
	t.forgetFlows(now)
	return err
}

// passShare is which part of a processor readings of all sockets may take: one of so
// many. If they take more, they come less often, and between them those are read that
// move: an idle socket costs nothing.
const passShare = 100

// readSockets reads all sockets, or those that move.
func (t *tracer) readSockets(last bool) error {
	var r bpf.TrafficTcpRecord
	now := kernel.Now()
	if t.listing && !last && now < t.passDue {
		var unlisted uint32
		if err := t.host.Get(bpf.TrafficVarUnlisted, &unlisted); err != nil {
			return err
		}
		if unlisted == 0 {
			return iterate(t, bpf.TrafficProgTrafficReadMovers, &r, func() { t.socket(&r) })
		}
	}
	if err := t.host.Set(bpf.TrafficVarUnlisted, uint32(0)); err != nil {
		return err
	}
	// The thread's own time: how long it waits for a processor is not the pass's cost.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	if err := iterate(t, bpf.TrafficProgTrafficReadSocks, &r, func() { t.socket(&r) }); err != nil {
		return err
	}
	return t.passed(threadTime()-before, now)
}

// passed says when all sockets are read again, after it took so long.
func (t *tracer) passed(cost time.Duration, now uint64) error {
	listing := t.canList && passShare*cost > t.interval
	t.passDue = now + uint64(passShare*cost)
	if t.host.Options.Limits.RarePasses {
		listing, t.passDue = t.canList, math.MaxUint64
	}
	if listing == t.listing {
		return nil
	}
	t.listing = listing
	value := uint32(0)
	if listing {
		value = 1
		if now > 0 {
			t.passDue = now // once more, by which those that move now are listed
		}
	}
	return t.host.Set(bpf.TrafficVarListing, value)
}

// threadTime is how long this thread has run.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0 // it exists
	}
	return time.Duration(t.Nano())
}
