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

func (t *tracer) common(kind string, when uint64, r *bpf.ConnConnRecord) event.Common {
	return event.Common{
		Time: t.host.Clock.Wall(when),
		Kind: kind,
		Process: event.Process{
			PID:      r.Conn.Pid,
			Comm:     t.host.Comm(r.Conn.Comm),
			UID:      r.Conn.Uid,
			CgroupID: r.Conn.Cgroup,
		},
	}
}

// connection is which one, and which end.
func connection(r *bpf.ConnConnRecord) event.Connection {
	c := event.Connection{
		Role: event.RoleClient,
		Src:  netip.AddrPortFrom(addr(r.Conn.Src), r.Conn.Sport),
		Dst:  netip.AddrPortFrom(addr(r.Conn.Dst), r.Conn.Dport),
	}
	if r.Conn.Role == bpf.ConnRoleServer {
		c.Role = event.RoleServer
	}
	if r.Conn.Naming == bpf.ConnNamingNamed {
		c.ID = event.ConnID{Client: uint32(r.Conn.Id >> 32), Server: uint32(r.Conn.Id), Known: true}
	}
	// Nothing was sent: no source address was chosen.
	if c.Src.Addr().IsUnspecified() {
		c.Src = netip.AddrPortFrom(netip.Addr{}, r.Conn.Sport)
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
