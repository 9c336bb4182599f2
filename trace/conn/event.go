package conn

import (
	"net/netip"

	"tracer/bpf"
	"tracer/trace/event"
)

var closeReasons = []string{
	bpf.ConnReasonClosed:   event.ReasonClosed,
	bpf.ConnReasonReset:    event.ReasonReset,
	bpf.ConnReasonTimedOut: event.ReasonTimeout,
}

func (t *tracer) common(kind string, when uint64, c *bpf.ConnConn) event.Common {
	return event.Common{
		Time: t.host.Clock.Wall(when),
		Kind: kind,
		Process: event.Process{
			PID:      c.Pid,
			Comm:     t.host.Comm(c.Comm),
			UID:      c.Uid,
			CgroupID: c.Cgroup,
		},
	}
}

// connection is which one, and which end.
func connection(of *bpf.ConnConn) event.Connection {
	c := event.Connection{
		Role: event.RoleClient,
		Src:  netip.AddrPortFrom(addr(of.Src), of.Sport),
		Dst:  netip.AddrPortFrom(addr(of.Dst), of.Dport),
	}
	if of.Role == bpf.ConnRoleServer {
		c.Role = event.RoleServer
	}
	if of.Naming == bpf.ConnNamingNamed {
		c.ID = event.ConnID{Client: uint32(of.Id >> 32), Server: uint32(of.Id), Known: true}
	}
	// Nothing was sent: no source address was chosen.
	if c.Src.Addr().IsUnspecified() {
		c.Src = netip.AddrPortFrom(netip.Addr{}, of.Sport)
	}
	return c
}

func addr(b [16]uint8) netip.Addr { return netip.AddrFrom16(b).Unmap() }

// roleOf is the role of the side of a connection that has done something.
func roleOf(r *bpf.ConnConnRecord, side bpf.ConnSide) string {
	switch {
	case side == 0:
		return ""
	case (side == bpf.ConnSideOwn) == (r.Conn.Role == bpf.ConnRoleClient):
		return event.RoleClient
	}
	return event.RoleServer
}

// tell passes on an event, or takes it into the summary if it passes the filters.
func (t *tracer) tell(e event.Event, key wait) {
	if t.sum == nil {
		t.host.Emit(e)
		return
	}
	if t.host.Take(e) {
		t.sum.add(e, key)
	}
}

func (t *tracer) tellSummary(last bool) {
	now := t.host.Now()
	t.sum.tell(t.host, now, t.host.Clock.Wall(now), last)
}
