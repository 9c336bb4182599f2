package render

import (
	"net/netip"
	"strconv"
	"time"

	"tracer/trace/event"
)

// On a narrow terminal the error and the port are the last to give way.
var connColumns = []Column{
	timeColumn,
	pidColumn,
	commColumn,
	{Name: "src", Title: "SOURCE →", Width: 23, Min: 16, Rank: 35, Right: true, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		return append(appendEndpoint(b, connOf(e).Src), " →"...)
	}},
	{Name: "dst", Title: "DESTINATION", Width: 21, Min: 7, Rank: 90, Keep: true, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		return appendEndpoint(b, connOf(e).Dst)
	}},
	{Name: "result", Title: "RESULT", Width: 28, Min: 17, Rank: 85, Spare: 67, Keep: true, Cell: appendConnResult},
	extra(eventColumn), extra(uidColumn), extra(cgroupColumn),
	{Name: "role", Title: "ROLE", Width: 6, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return append(b, connOf(e).Role...)
	}},
	{Name: "latency", Title: "LATENCY", Width: 8, Right: true, Rank: 62, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		switch e := e.(type) {
		case *event.Connect:
			return appendKnown(b, e.Latency)
		case *event.ConnectFailed:
			return appendKnown(b, e.Latency)
		case *event.ConnectStuck:
			return appendKnown(b, e.Age)
		}
		return b
	}},
	{Name: "duration", Title: "DURATION", Width: 8, Right: true, Rank: 61, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return appendKnown(b, e.Duration)
	})},
	{Name: "tx", Title: "SENT", Width: 8, Right: true, Rank: 60, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return AppendSize(b, e.Tx)
	})},
	{Name: "rx", Title: "RECEIVED", Width: 8, Right: true, Rank: 60, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return AppendSize(b, e.Rx)
	})},
	{Name: "retransmits", Title: "RETRANS", Width: 7, Right: true, Rank: 50, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return strconv.AppendUint(b, uint64(e.Retransmits), 10)
	})},
	{Name: "srtt", Title: "SRTT", Width: 8, Right: true, Rank: 51, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return appendKnown(b, e.SRTT)
	})},
	connIDColumn,
}

// connIDColumn is of all events of TCP connections.
var connIDColumn = Column{Name: "conn_id", Title: "CONNECTION", Width: 16, Rank: 12, Extra: true, Cell: func(b []byte, e event.Event) []byte {
	c := connOf(e)
	if h, ok := e.(*event.HTTP); ok {
		c = &h.Connection
	}
	b, _ = c.ID.AppendText(b) // it has no errors
	return b
}}

func closeCell(cell func([]byte, *event.Close) []byte) func([]byte, event.Event) []byte {
	return func(b []byte, e event.Event) []byte {
		if e, ok := e.(*event.Close); ok {
			return cell(b, e)
		}
		return b
	}
}

// connOf is the connection that an event is about.
func connOf(e event.Event) *event.Connection {
	switch e := e.(type) {
	case *event.Connect:
		return &e.Connection
	case *event.ConnectFailed:
		return &e.Connection
	case *event.ConnectStuck:
		return &e.Connection
	case *event.Accept:
		return &e.Connection
	case *event.Close:
		return &e.Connection
	}
	return &event.Connection{}
}

func connMark(e event.Event) Mark {
	switch e := e.(type) {
	case *event.ConnectFailed, *event.ConnectStuck:
		return Failed
	case *event.Close:
		if e.Reason == event.ReasonClosed {
			return Quiet
		}
		return Failed
	}
	return Usual
}

// appendEndpoint appends an address and a port, * for what is unknown.
func appendEndpoint(b []byte, ap netip.AddrPort) []byte {
	switch {
	case !ap.Addr().IsValid() && ap.Port() == 0:
		return append(b, '*')
	case !ap.Addr().IsValid():
		b = append(b, '*')
	case ap.Addr().Is4():
		b = ap.Addr().AppendTo(b)
	default:
		b = append(ap.Addr().AppendTo(append(b, '[')), ']')
	}
	b = append(b, ':')
	if ap.Port() == 0 {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(ap.Port()), 10)
}

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
		return append(b, "accepted"...)
	case *event.Close:
		return appendClose(b, e)
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
	b = append(b, e.Error...)
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
	b = AppendSize(append(b, ", "...), e.Tx)
	b = AppendSize(append(b, " out, "...), e.Rx)
	return append(b, " in"...)
}

// appendKnown appends a duration unless it is unknown.
func appendKnown(b []byte, d time.Duration) []byte {
	if d == 0 {
		return b
	}
	return AppendDuration(b, d)
}
