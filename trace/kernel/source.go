package kernel

import "time"

// pollInterval is how often a source is looked at where it is not known how many
// records will come.
const pollInterval = 10 * time.Millisecond

// poll is a deadline that has passed: read what is there, do not wait for more.
var poll = time.Unix(1, 0)

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
