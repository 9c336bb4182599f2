package http

import (
	"net/netip"

	"tracer/trace/event"
)

// maxRecordedWaits bounds what is remembered of a recording's requests without an answer.
const maxRecordedWaits = 1 << 16

// recorded is what a recording's events go through.
type recorded struct {
	waits map[recordedName]*event.HTTP // that were told to be stuck: no more was told of them
}

// recordedName names an exchange in a recording.
type recordedName struct {
	host     int
	role     string
	id       event.ConnID
	src, dst netip.AddrPort
	stream   uint32
	seq      uint64
	time     int64 // where its place on its connection is not known
}

// wait keeps a request that waits.
func (r *recorded) wait(name recordedName, h *event.HTTP) {
	if len(r.waits) >= maxRecordedWaits {
		clear(r.waits) // their ends were lost, most likely
	}
	kept := *h // its strings are of a line of its own
	kept.Recorded = ""
	r.waits[name] = &kept
}

func nameRecorded(h *event.HTTP, host int) recordedName {
	n := recordedName{host, h.Role, h.ID, h.Src, h.Dst, h.Stream, h.Seq, 0}
	if h.Stream == 0 && h.Seq == 0 {
		n.time = h.Time.UnixNano()
	}
	return n
}
