package event

import (
	"net/netip"
	"time"
)

// KindConnSummary is the kind of ConnSummary.
const KindConnSummary = "conn_summary"

// Results of connections in a ConnSummary, beside the names of errnos.
const (
	ResultConnected   = "connected"
	ResultAccepted    = "accepted"
	ResultReset       = "reset"
	ResultNoAnswer    = "no answer"    // yet
	ResultNotAccepted = "not accepted" // yet
)

// ConnSummary is what came of the connections of one process with one destination, or at
// one of its ports, as far as it has come to the same: in an interval that ends at Time
// or, on a page, since tracing began. Each connection counts once, under the last that is
// known of it. What becomes known in a later interval (a reset) counts in that, too.
type ConnSummary struct {
	Common
	Interval time.Duration  // that it tells of
	Role     string         // the process's: RoleClient or RoleServer; empty in what sums several up
	Dst      netip.AddrPort // of a server the port alone
	Result   string
	Count    uint64
	Answered uint64 // of Count, those whose SYN was answered when that is known (a line tells only whether it is 0)
	P50, Max time.Duration
	Tx, Rx   uint64 // payload bytes of those that ended
	// How often servers were asked and have answered, and how long that took; see Close.
	// Those of connections that are open are in it.
	Turns                     uint64
	TurnP50, TurnP99, TurnMax time.Duration

	First time.Time // of the whole run
	Last  time.Time

	// For tables.
	Rate float64 // connections a second: of the interval, in a closing table of the whole run
}

// Failed reports whether it is of connections that could not be opened, or broke.
func (e *ConnSummary) Failed() bool {
	return e.Result != "" && e.Result != ResultConnected && e.Result != ResultAccepted
}

func (e *ConnSummary) fields(t *table) {
	t.common(&e.Common)
	t.micros("interval_us", &e.Interval, true)
	t.text("role", &e.Role, e.Role != "")
	t.host("dst_addr", &e.Dst)
	t.port("dst_port", &e.Dst)
	t.text("result", &e.Result, e.Result != "")
	t.uint64("count", &e.Count, true)
	if t.reads("p50_us") {
		e.Answered = 1
	}
	answered := e.Answered != 0
	t.micros("p50_us", &e.P50, answered)
	t.micros("max_us", &e.Max, answered)
	t.uint64("tx_bytes", &e.Tx, true)
	t.uint64("rx_bytes", &e.Rx, true)
	t.uint64("turns", &e.Turns, e.Turns > 0)
	t.knownMicros("turn_p50_us", &e.TurnP50)
	t.knownMicros("turn_p99_us", &e.TurnP99)
	t.micros("turn_max_us", &e.TurnMax, e.Turns > 0)
	t.time("first", &e.First, !e.First.IsZero())
	t.time("last", &e.Last, !e.Last.IsZero())
}
