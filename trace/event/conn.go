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
	Queued time.Duration // from established to accepted; 0 if unknown, and then so is the rest

	// The listener's queue when the connection came, and its limit: at that it was full.
	Backlog, BacklogMax uint32
	SYNACKs             uint32 // that were sent again: the client's last word was not heard, or found no room
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
	MinRTT      time.Duration // the shortest of the last minutes, 0 if never measured
	Idle        time.Duration // when the first side closed: since bytes were last moved; 0 if unknown
	Unread      uint32        // bytes that were thrown away: the process closed without reading them, which resets
	Reason      string        // ReasonClosed, …
	ClosedBy    string        // the role of who ended it first; empty if nobody did
	ResetBy     string        // the role of who sent a reset, also after the other's end; empty if nobody did
	OpenBefore  bool          // open when tracing began

	// What sending waited for, of the side that sent more; 0 if it was little. Busy is
	// while anything was to be sent or acknowledged, the others are parts of that: the
	// receiver's window was closed, the own send buffer was too small.
	Busy, RwndLimited, SndbufLimited time.Duration

	// How often the server was asked and has answered, and how long that took; 0 where it
	// was not asked for, or cannot be told.
	Turns            uint64
	TurnP50, TurnMax time.Duration
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
	t.knownMicros("queue_us", &e.Queued)
	known := e.Queued != 0
	t.uint32("backlog", &e.Backlog, known)
	t.uint32("backlog_max", &e.BacklogMax, known)
	t.uint32("synack_retransmits", &e.SYNACKs, known)
}

func (e *Close) fields(t *table) {
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.knownMicros("duration_us", &e.Duration)
	t.uint64("tx_bytes", &e.Tx, true)
	t.uint64("rx_bytes", &e.Rx, true)
	t.uint32("retransmits", &e.Retransmits, true)
	t.knownMicros("srtt_us", &e.SRTT)
	t.knownMicros("min_rtt_us", &e.MinRTT)
	t.knownMicros("busy_us", &e.Busy)
	t.knownMicros("rwnd_limited_us", &e.RwndLimited)
	t.knownMicros("sndbuf_limited_us", &e.SndbufLimited)
	t.uint64("turns", &e.Turns, e.Turns > 0)
	t.knownMicros("turn_p50_us", &e.TurnP50)
	t.micros("turn_max_us", &e.TurnMax, e.Turns > 0)
	t.uint32("unread_bytes", &e.Unread, e.Unread > 0)
	t.text("reason", &e.Reason, true)
	t.text("closed_by", &e.ClosedBy, e.ClosedBy != "")
	t.text("reset_by", &e.ResetBy, e.ResetBy != "")
	t.knownMicros("idle_us", &e.Idle)
	t.flag("open_before", &e.OpenBefore, e.OpenBefore)
}
