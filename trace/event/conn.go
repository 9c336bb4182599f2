package event

import (
	"net/netip"
	"time"
)

// Kinds of events on connections.
const (
	KindConnect       = "connect"
	KindConnectFailed = "connect_failed"
	KindConnectStuck  = "connect_stuck"
	KindAccept        = "accept"
	KindClose         = "close"
)

// The two ends of a connection: values of the JSON keys "role" and "closed_by".
const (
	RoleClient = "client"
	RoleServer = "server"
)

// Reasons why a connection ended.
const (
	ReasonClosed  = "closed"
	ReasonReset   = "reset"
	ReasonTimeout = "timeout"
)

// Connection says which connection and which end of it. Src is who called and
// Dst who was called, on both ends. What is unknown of Src, because nothing was
// sent, is an invalid address or port 0. IPv4-mapped addresses are unmapped.
type Connection struct {
	Role     string // RoleClient or RoleServer
	Src, Dst netip.AddrPort
}

// Connect is a connection that was established by the process.
type Connect struct {
	Common
	Connection
	Latency time.Duration // from the SYN to established; 0 if it began before tracing
}

// ConnectFailed is one that could not be.
type ConnectFailed struct {
	Common
	Connection
	Latency time.Duration // from the SYN to the failure; 0 if no SYN was sent
	SYNs    uint32        // sent, 0 if unknown
	Error   string        // errno name; ECANCELED if the process gave up
}

// ConnectStuck is one that has got no answer yet; its end is an event of its own.
type ConnectStuck struct {
	Common
	Connection
	Age  time.Duration // since the first SYN
	SYNs uint32        // sent so far
}

// Accept is a connection that the process accepted.
type Accept struct {
	Common
	Connection
}

// Close is the end of a connection that was established: TCP state CLOSE, or
// TIME_WAIT, which has no socket.
type Close struct {
	Common
	Connection
	Duration    time.Duration // since connect began or accept returned; 0 if that was before tracing
	Tx, Rx      uint64        // payload bytes, sent at least once and received in order
	Retransmits uint32        // segments
	SRTT        time.Duration // smoothed round-trip time, 0 if never measured
	Reason      string        // ReasonClosed, …
	ClosedBy    string        // the role of who ended it first; empty if nobody did
	ResetBy     string        // the role of who sent a reset, also after the other's end; not in JSON
	OpenBefore  bool          // open when tracing began
}

func (c *Connection) appendConnection(o object) object {
	o.str("role", c.Role)
	switch src, dst := c.Src.Addr(), c.Dst.Addr(); {
	case src.Is4() || dst.Is4():
		o.str("family", "ipv4")
	case src.Is6() || dst.Is6():
		o.str("family", "ipv6")
	}
	o.endpoint("src_addr", "src_port", c.Src)
	o.endpoint("dst_addr", "dst_port", c.Dst)
	return o
}

func (e *Connect) appendJSON(o object) object {
	o = e.appendConnection(o)
	o.optionalMicros("latency_us", e.Latency)
	return o
}

func (e *ConnectFailed) appendJSON(o object) object {
	o = e.appendConnection(o)
	o.optionalMicros("latency_us", e.Latency)
	if e.SYNs > 0 {
		o.uint("syns", uint64(e.SYNs))
	}
	o.str("error", e.Error)
	return o
}

func (e *ConnectStuck) appendJSON(o object) object {
	o = e.appendConnection(o)
	o.micros("age_us", e.Age)
	o.uint("syns", uint64(e.SYNs))
	return o
}

func (e *Accept) appendJSON(o object) object { return e.appendConnection(o) }

func (e *Close) appendJSON(o object) object {
	o = e.appendConnection(o)
	o.optionalMicros("duration_us", e.Duration)
	o.uint("tx_bytes", e.Tx)
	o.uint("rx_bytes", e.Rx)
	o.uint("retransmits", uint64(e.Retransmits))
	o.optionalMicros("srtt_us", e.SRTT)
	o.str("reason", e.Reason)
	o.optional("closed_by", e.ClosedBy)
	o.flag("open_before", e.OpenBefore)
	return o
}

// endpoint leaves out what is unknown.
func (o *object) endpoint(addr, port string, ap netip.AddrPort) {
	if ap.Addr().IsValid() {
		o.key(addr)
		o.buf = append(o.buf, '"')
		o.buf = ap.Addr().AppendTo(o.buf)
		o.buf = append(o.buf, '"')
	}
	if ap.Port() != 0 {
		o.uint(port, uint64(ap.Port()))
	}
}

// optionalMicros leaves the key out if d is 0.
func (o *object) optionalMicros(k string, d time.Duration) {
	if d != 0 {
		o.micros(k, d)
	}
}
