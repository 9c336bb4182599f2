package render

import (
	"strconv"
	"time"

	"tracer/trace/event"
)

// What is below is not worth a word in a row.
const (
	idleTold   = 100 * time.Millisecond
	queuedTold = 10 * time.Millisecond
)

// appendConnResult says what happened to a connection, the most important first:
// the end may be cut.
func appendConnResult(b []byte, e event.Event) []byte {
	switch e := e.(type) {
	case *event.Connect:
		b = append(b, "connected"...)
		if e.Latency > 0 {
			b = AppendDuration(append(b, " in "...), e.Latency)
		}
	case *event.ConnectFailed:
		return appendFailure(b, e)
	case *event.ConnectStuck:
		return appendNoAnswer(b, e.Age, e.SYNs)
	case *event.Accept:
		return appendAccept(b, e)
	case *event.Close:
		return appendClose(b, e)
	case *event.Open:
		return appendOpen(b, e)
	}
	return b
}

// appendOpen says since when a connection is open, and what waits in it. The age of one
// that nobody has accepted is how long it waits for that.
func appendOpen(b []byte, e *event.Open) []byte {
	if e.Accepted {
		b = append(b, "open"...)
	} else {
		b = append(b, "not accepted"...)
	}
	if e.Age > 0 {
		b = AppendDuration(append(b, " for "...), e.Age)
	}
	if e.Idle >= idleTold {
		b = AppendDuration(append(b, ", idle "...), e.Idle)
	}
	for _, n := range []struct {
		bytes uint32
		what  string
	}{{e.Unread, " unread"}, {e.Unsent, " unsent"}, {e.Unacked - e.Unsent, " unacknowledged"}} {
		if n.bytes > 0 {
			b = append(AppendSize(append(b, ", "...), uint64(n.bytes)), n.what...)
		}
	}
	return b
}

func appendFailure(b []byte, e *event.ConnectFailed) []byte {
	switch e.Error {
	case "ECONNREFUSED":
		return append(b, "refused"...)
	case "ETIMEDOUT":
		return appendNoAnswer(b, e.Latency, e.SYNs)
	case "ECANCELED":
		b = append(b, "given up"...)
		if e.Latency > 0 {
			b = appendSYNs(AppendDuration(append(b, " after "...), e.Latency), e.SYNs)
		}
		return b
	}
	b = AppendText(b, e.Error)
	if text := failures[e.Error]; text != "" {
		b = append(append(b, ": "...), text...)
	}
	return b
}

// failures explains common errors of connect(2).
var failures = map[string]string{
	"EACCES":        "not permitted",
	"EADDRINUSE":    "local address in use",
	"EADDRNOTAVAIL": "no local address or port",
	"ECONNRESET":    "reset",
	"EHOSTUNREACH":  "no route to host",
	"ENETUNREACH":   "no route to network",
	"EPERM":         "not permitted",
}

func appendNoAnswer(b []byte, age time.Duration, syns uint32) []byte {
	b = append(b, "no answer"...)
	if age > 0 {
		b = appendSYNs(AppendDuration(append(b, " for "...), age), syns)
	}
	return b
}

func appendSYNs(b []byte, n uint32) []byte {
	b = strconv.AppendUint(append(b, ", "...), uint64(n), 10)
	if n == 1 {
		return append(b, " SYN"...)
	}
	return append(b, " SYNs"...)
}

func appendClose(b []byte, e *event.Close) []byte {
	by := e.ClosedBy
	switch e.Reason {
	case event.ReasonReset:
		by = e.ResetBy
		b = append(b, "reset"...)
	case event.ReasonTimeout:
		b = append(b, "timed out"...)
	default:
		b = append(b, "closed"...)
	}
	if by != "" && by != e.Role {
		b = append(b, " by peer"...)
	}
	if e.Duration > 0 {
		b = AppendDuration(append(b, " after "...), e.Duration)
	}
	if e.Turns > 0 {
		b = appendTurns(append(b, ", "...), e)
	}
	if e.Idle >= idleTold {
		b = AppendDuration(append(b, ", idle "...), e.Idle)
	}
	if e.Unread > 0 {
		b = append(AppendSize(append(b, ", "...), uint64(e.Unread)), " unread"...)
	}
	b = AppendSize(append(b, ", "...), e.Tx)
	b = AppendSize(append(b, " out, "...), e.Rx)
	b = append(b, " in"...)
	if what, part := limitOf(e); part >= 50 {
		b = append(append(b, ", limited by "...), what...)
	}
	return b
}

// appendTurns says how often the server has answered, and how long that took.
func appendTurns(b []byte, e *event.Close) []byte {
	b = strconv.AppendUint(b, e.Turns, 10)
	if e.Turns == 1 {
		return AppendDuration(append(b, " turn of "...), e.TurnMax)
	}
	b = append(b, " turns"...)
	if e.TurnP50 > 0 {
		b = AppendDuration(append(b, ", p50 "...), e.TurnP50)
	}
	return AppendDuration(append(b, ", max "...), e.TurnMax)
}

// limitOf is what limited sending for the longer time, and in how many percent of the
// time in which there was something to send; 0: nothing has.
func limitOf(e *event.Close) (what string, percent uint64) {
	what, limited := "receiver", e.RwndLimited
	if e.SndbufLimited > limited {
		what, limited = "send buffer", e.SndbufLimited
	}
	if e.Busy <= 0 {
		return "", 0
	}
	return what, uint64(100 * limited / e.Busy)
}

// appendAccept says how long a connection waited, and how full the queue was: at its limit
// it drops whoever comes next.
func appendAccept(b []byte, e *event.Accept) []byte {
	b = append(b, "accepted"...)
	if e.Queued >= queuedTold {
		b = AppendDuration(append(b, " after "...), e.Queued)
	}
	switch {
	case queueFull(e):
		b = strconv.AppendUint(append(b, ", queue full ("...), uint64(e.BacklogMax), 10)
		b = append(b, ')')
	case e.Backlog > 0 && e.Queued >= queuedTold:
		b = strconv.AppendUint(append(b, ", "...), uint64(e.Backlog), 10)
		b = append(b, " before it"...)
	}
	if e.SYNACKs == 0 {
		return b
	}
	b = strconv.AppendUint(append(b, ", "...), uint64(e.SYNACKs), 10)
	b = append(b, " SYN-ACK"...)
	if e.SYNACKs > 1 {
		b = append(b, 's')
	}
	return append(b, " resent"...)
}

// queueFull reports whether a connection was the last that the listener's queue took. A
// limit of 0 is one connection, which is no queue.
func queueFull(e *event.Accept) bool { return e.BacklogMax > 0 && e.Backlog >= e.BacklogMax }
