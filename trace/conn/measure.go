package conn

import (
	"math"
	"time"

	"tracer/bpf"
	"tracer/trace/event"
)

// leastLimit is what is told of what limited a transfer: less is of no interest, and a
// tick or two is no measure.
const leastLimit = 10 * time.Millisecond

// ticks is a time that the kernel keeps in ticks of its timer. It is known, if tick is,
// even if it is none: then it is not 0.
func (t *tracer) ticks(n uint32) time.Duration {
	if t.tick == 0 {
		return 0
	}
	return max(time.Duration(n)*t.tick, 1)
}

// measure fills in what the socket has told at its end.
func (t *tracer) measure(e *event.Close, r *bpf.ConnConnRecord) {
	if r.Conn.IdleKnown != 0 {
		e.Idle = t.ticks(r.Conn.Idle)
	}
	if r.MinRttUs != math.MaxUint32 { // none was measured
		e.MinRTT = time.Duration(r.MinRttUs) * time.Microsecond
	}
	e.Unread = r.Unread
	if r.Tx > r.Rx { // who receives has sent acknowledgements for the most part
		t.limits(e, r)
	}
}

// limits says what sending has waited for, as ss does: busy is all the time in which
// something was to be sent or acknowledged.
func (t *tracer) limits(e *event.Close, r *bpf.ConnConnRecord) {
	busy, rwnd, sndbuf := r.Busy, r.RwndLimited, r.SndbufLimited
	switch r.Limit {
	case bpf.ConnLimitBusy:
		busy += r.Limited
	case bpf.ConnLimitRwndLimited:
		rwnd += r.Limited
	case bpf.ConnLimitSndbufLimited:
		sndbuf += r.Limited
	}
	told := func(ticks uint32) time.Duration {
		if d := time.Duration(ticks) * t.tick; d > leastLimit {
			return d
		}
		return 0
	}
	e.Busy, e.RwndLimited, e.SndbufLimited = told(busy+rwnd+sndbuf), told(rwnd), told(sndbuf)
}
