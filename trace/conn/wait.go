package conn

import (
	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
)

// maxWaits bounds what is remembered of connects without an answer.
const maxWaits = 1 << 16

// syn takes note of a SYN that was sent.
func (t *tracer) syn(r *bpf.ConnConnRecord) {
	key := wait{r.Socket, r.Conn.Start}
	w := t.waits[key]
	if w == nil {
		if len(t.waits) >= maxWaits {
			t.forgetWaits()
		}
		w = &waiter{}
		t.waits[key] = w
		t.untold++
	}
	w.record = *r
	switch {
	case w.told, r.Conn.Start == 0:
	case kernel.Since(r.Conn.Start, r.Time) >= t.stuck:
		t.tellStuck(w, r.Time)
	default:
		t.due.At(r.Conn.Start + uint64(t.stuck))
	}
}

// answered forgets a connect that waits no longer.
func (t *tracer) answered(r *bpf.ConnConnRecord) {
	key := wait{r.Socket, r.Conn.Start}
	if w := t.waits[key]; w != nil {
		t.forget(key, w)
	}
}

func (t *tracer) forget(key wait, w *waiter) {
	delete(t.waits, key)
	if !w.told {
		t.untold--
	}
}

// forgetWaits makes room: the end of a connect may have been lost.
func (t *tracer) forgetWaits() {
	for key, w := range t.waits {
		if !t.stillWaits(key) {
			t.forget(key, w)
		}
	}
	if len(t.waits) < maxWaits {
		return
	}
	t.host.Ledger.Lost(account.MapFull, uint64(t.untold))
	clear(t.waits)
	t.untold = 0
}

// stillWaits asks the kernel: the answer may be on its way.
func (t *tracer) stillWaits(key wait) bool {
	var c bpf.ConnConn
	err := t.host.Map(bpf.ConnMapSocks).Lookup(key.socket, &c)
	return err == nil && c.State == bpf.ConnStateConnecting && c.Start == key.start
}

func (t *tracer) tellStuck(w *waiter, now uint64) {
	r := &w.record
	w.told = true
	t.untold--
	t.connectStuck = event.ConnectStuck{
		Common:     t.common(event.KindConnectStuck, now, &r.Conn),
		Connection: connection(&r.Conn),
		Age:        kernel.Since(r.Conn.Start, now),
		SYNs:       r.Retransmits + 1,
	}
	t.tell(&t.connectStuck, wait{r.Socket, r.Conn.Start})
}

// tellWaiting tells of connects that have waited for long enough.
func (t *tracer) tellWaiting() {
	now := t.host.Horizon()
	next := uint64(0)
	for key, w := range t.waits {
		switch due := key.start + uint64(t.stuck); {
		case w.told, key.start == 0: // since when is not known
		case now < due:
			if next == 0 || due < next {
				next = due
			}
		case t.stillWaits(key):
			t.tellStuck(w, now)
		default:
			t.forget(key, w)
		}
	}
	if next > 0 {
		t.due.At(next)
	}
}
