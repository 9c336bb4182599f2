package traffic

import (
	"io"

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
	if err := t.readSockets(); err != nil {
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
		if err := t.readSockets(); err != nil {
			return err
		}
	}
	t.forgetShares()
	if t.anyIsShared() {
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

func (t *tracer) readSockets() error {
	var r bpf.TrafficTcpRecord
	return iterate(t, bpf.TrafficProgTrafficReadSocks, &r, func() { t.socket(&r) })
}
