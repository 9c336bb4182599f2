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
	ID       ConnID
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
	ResetBy     string        // the role of who sent a reset, also after the other's end; empty if nobody did
	OpenBefore  bool          // open when tracing began
}

func (t *table) connection(c *Connection) {
	t.text("role", &c.Role, true)
	t.derived("family", c.family())
	t.host("src_addr", &c.Src)
	t.port("src_port", &c.Src)
	t.host("dst_addr", &c.Dst)
	t.port("dst_port", &c.Dst)
	t.connID("conn_id", &c.ID)
}

// family is that of the addresses; empty if none is known.
func (c *Connection) family() string {
	switch src, dst := c.Src.Addr(), c.Dst.Addr(); {
	case src.Is4() || dst.Is4():
		return "ipv4"
	case src.Is6() || dst.Is6():
		return "ipv6"
	}
	return ""
}

func (e *Connect) fields(t *table) {
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.knownMicros("latency_us", &e.Latency)
}

func (e *ConnectFailed) fields(t *table) {
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.knownMicros("latency_us", &e.Latency)
	t.uint32("syns", &e.SYNs, e.SYNs != 0)
	t.text("error", &e.Error, true)
}

func (e *ConnectStuck) fields(t *table) {
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.micros("age_us", &e.Age, true)
	t.uint32("syns", &e.SYNs, true)
}

func (e *Accept) fields(t *table) {
	t.common(&e.Common)
	t.connection(&e.Connection)
}

func (e *Close) fields(t *table) {
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.knownMicros("duration_us", &e.Duration)
	t.uint64("tx_bytes", &e.Tx, true)
	t.uint64("rx_bytes", &e.Rx, true)
	t.uint32("retransmits", &e.Retransmits, true)
	t.knownMicros("srtt_us", &e.SRTT)
	t.text("reason", &e.Reason, true)
	t.text("closed_by", &e.ClosedBy, e.ClosedBy != "")
	t.text("reset_by", &e.ResetBy, e.ResetBy != "")
	t.flag("open_before", &e.OpenBefore, e.OpenBefore)
}
