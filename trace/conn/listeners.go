package conn

import (
	"sync/atomic"

	"tracer/bpf"
	"tracer/trace/kernel"
)

// listeners names who has dropped connections: the listeners whose own count of what they
// dropped has risen, if they are one.
type listeners struct {
	drops map[uint64]uint32 // by socket, as known last
	begun atomic.Uint64     // when all that were there at the beginning were known: boot clock
	look  *kernel.Iterator  // at all of them; nil: they cannot be listed
}

// risen are the listeners of a network namespace that have dropped something, of all that
// there are now. What is not known from before is new, or at another's address.
func (l *listeners) risen(netns uint32, now []bpf.ConnListener) (list []bpf.ConnListener) {
	drops := make(map[uint64]uint32, len(now))
	for _, r := range now {
		before := l.drops[r.Socket]
		if before > r.Drops {
			before = 0
		}
		drops[r.Socket] = r.Drops
		switch {
		case r.Netns != netns:
			drops[r.Socket] = before // it is asked for by itself
		case r.Drops > before:
			list = append(list, r)
		}
	}
	l.drops = drops
	return list
}
