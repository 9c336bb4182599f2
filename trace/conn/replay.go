package conn

import (
	"hash/maphash"
	"net/netip"
	"slices"

	"tracer/trace/event"
	"tracer/trace/session"
)

var _ session.Replayer = (*tracer)(nil)

// Replaying readies the tracer for events of a recording.
func (t *tracer) Replaying(h *session.Host) {
	t.begin(h)
	t.names = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
}

// Replay takes an event of a recording.
func (t *tracer) Replay(e event.Event, host int) (bool, error) {
	var c *event.Connection
	switch e := e.(type) {
	case *event.Connect:
		c = &e.Connection
	case *event.ConnectFailed:
		c = &e.Connection
	case *event.ConnectStuck:
		c = &e.Connection
	case *event.Accept:
		c = &e.Connection
	case *event.Close:
		c = &e.Connection
	case *event.Open:
		if !t.older {
			return false, nil
		}
		c = &e.Connection
	default:
		return false, nil
	}
	switch {
	case !t.host.Passes(e, t.filters(e, c)):
	case t.sum == nil:
		t.host.Show(e)
	case t.host.TakeJudged(e):
		key := t.nameOf(e, c, host)
		if opens(e) {
			t.sum.forget(key)
		}
		t.sum.add(e, key)
	}
	return true, nil
}

// Replayed tells the summary.
func (t *tracer) Replayed() { t.End() }

// filters is the first of the probe's own filters that a recorded event does not pass;
// empty if it passes them all. The programs in the kernel decide the same.
func (t *tracer) filters(e event.Event, c *event.Connection) string {
	if len(t.ports) > 0 && !slices.Contains(t.ports, c.Src.Port()) && !slices.Contains(t.ports, c.Dst.Port()) {
		return "port"
	}
	failed, slow := false, t.slow == 0
	switch e := e.(type) {
	case *event.Connect:
		slow = slow || e.Latency >= t.slow
	case *event.ConnectFailed:
		failed, slow = true, slow || e.Latency >= t.slow
	case *event.ConnectStuck:
		slow = slow || e.Age >= t.slow
		if t.stuck == 0 || t.stuck != firstRetry && e.Age < t.stuck {
			return "stuck"
		}
	case *event.Close:
		failed = e.Reason == event.ReasonReset
	case *event.Open:
		slow = true
	}
	switch {
	case !slow:
		return "slow"
	case t.failed && !failed:
		return "failed"
	}
	return ""
}

// opens reports whether a connection is new with e.
func opens(e event.Event) bool {
	switch e.(type) {
	case *event.Connect, *event.Accept:
		return true
	}
	return false
}

// nameOf tells an end of a connection from others, as a socket does where it is traced.
func (t *tracer) nameOf(e event.Event, c *event.Connection, host int) wait {
	end := struct {
		host     int
		pid      uint32
		role     string
		src, dst netip.AddrPort
	}{host, 0, c.Role, c.Src, c.Dst}
	if !c.Src.Addr().IsValid() { // nothing was sent
		end.pid = e.Head().PID
	}
	return wait{maphash.Comparable(t.names[0], end), maphash.Comparable(t.names[1], end)}
}
