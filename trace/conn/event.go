package conn

import (
	"net/netip"

	"tracer/bpf"
	"tracer/trace/event"
)

// What stands in records: the enums of bpf/conn.bpf.c.
const (
	recordConnect = iota + 1
	recordConnectFailed
	recordWaiting
	recordAccept
	recordClose

	roleClient = 1
	roleServer = 2

	stateConnecting = 1

	sideOwn  = 1
	sidePeer = 2
)

var closeReasons = []string{1: event.ReasonClosed, 2: event.ReasonReset, 3: event.ReasonTimeout}

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
	if r.Conn.Role == roleServer {
		c.Role = event.RoleServer
	}
	// Nothing was sent: no source address was chosen.
	if c.Src.Addr().IsUnspecified() {
		c.Src = netip.AddrPortFrom(netip.Addr{}, r.Conn.Sport)
	}
	return c
}

func addr(b [16]uint8) netip.Addr { return netip.AddrFrom16(b).Unmap() }

// roleOf is the role of the side of a connection that has done something.
func roleOf(r *bpf.ConnConnRecord, side uint8) string {
	switch {
	case side == 0:
		return ""
	case (side == sideOwn) == (r.Conn.Role == roleClient):
		return event.RoleClient
	}
	return event.RoleServer
}
