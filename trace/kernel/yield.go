package kernel

import (
	"time"

	"golang.org/x/sys/unix"
)

// While a session decodes what one look has found, which takes a millisecond or
// more, it gives way every few records: who waits for the processor is mostly who
// is traced. It does not when it is behind, nor for a while after it had to wait
// long itself: then all processors are busy, and the scheduler gives each who waits
// a whole slice of time.
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

// yield gives way before the n-th record, while so many batches wait.
func (y *yielder) yield(n uint64, behind int) {
	if n%yieldRecords != 0 || behind >= yieldBehind {
		return
	}
	began := time.Now()
	if began.Before(y.again) {
		return
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // cannot fail
	if time.Since(began) > yieldLong {
		y.again = began.Add(yieldPause)
	}
}
