package event

import (
	"net/netip"
	"time"
)

// KindTraffic is the kind of Traffic.
const KindTraffic = "traffic"

// Transport protocols: values of the JSON key "proto".
const (
	ProtoTCP = "tcp"
	ProtoUDP = "udp"
)

// Traffic is what a row (a process, a program, a service, a connection, a peer, a
// cgroup) has moved in an interval: payload, as the row's own side sent and received
// it, of a service the server's. Process tells whose row it is, as far as there is one
// process, program or place.
type Traffic struct {
	Common
	Connection               // of a row by connection; of UDP src is who sent first. Of one by service the port of Dst alone
	Peer       netip.Addr    // of a row by peer; invalid if it is unknown
	Proto      string        // empty if the row has moved bytes by both
	Interval   time.Duration // that Tx and Rx tell of
	Tx, Rx     uint64        // bytes

	// For tables.
	TotalTx, TotalRx uint64  // since tracing began
	Part             float64 // of all bytes of the interval; in a closing table of the whole run
}

func (e *Traffic) fields(t *table) {
	t.common(&e.Common)
	t.text("comm", &e.Comm, e.PID == 0 && e.Comm != "") // of a program
	t.micros("interval_us", &e.Interval, true)
	t.text("proto", &e.Proto, e.Proto != "")
	if e.Role != "" || t.in != nil {
		t.connection(&e.Connection)
	} else {
		t.port("dst_port", &e.Dst)
	}
	t.address("peer_addr", &e.Peer)
	t.uint64("tx_bytes", &e.Tx, true)
	t.uint64("rx_bytes", &e.Rx, true)
}
