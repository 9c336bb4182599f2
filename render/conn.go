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
		return AppendText(b, connOf(e).Role)
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
	{Name: "min_rtt", Title: "MIN RTT", Width: 8, Right: true, Rank: 50, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return appendKnown(b, e.MinRTT)
	})},
	{Name: "idle", Title: "IDLE", Width: 8, Right: true, Rank: 50, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		switch e := e.(type) {
		case *event.Close:
			return appendKnown(b, e.Idle)
		case *event.Open:
			return appendKnown(b, e.Idle)
		}
		return b
	}},
	{Name: "unread", Title: "UNREAD", Width: 8, Right: true, Rank: 49, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		switch e := e.(type) {
		case *event.Close:
			return appendMoved(b, uint64(e.Unread))
		case *event.Open:
			return appendMoved(b, uint64(e.Unread))
		}
		return b
	}},
	{Name: "unsent", Title: "UNSENT", Width: 8, Right: true, Rank: 49, Extra: true, Cell: openCell(func(b []byte, e *event.Open) []byte {
		return appendMoved(b, uint64(e.Unsent))
	})},
	{Name: "unacked", Title: "UNACKED", Width: 8, Right: true, Rank: 49, Extra: true, Cell: openCell(func(b []byte, e *event.Open) []byte {
		return appendMoved(b, uint64(e.Unacked))
	})},
	{Name: "age", Title: "AGE", Width: 8, Right: true, Rank: 49, Extra: true, Cell: openCell(func(b []byte, e *event.Open) []byte {
		return appendKnown(b, e.Age)
	})},
	{Name: "limited", Title: "LIMITED BY", Width: 15, Rank: 48, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		what, percent := limitOf(e)
		if percent == 0 {
			return b
		}
		b = append(append(b, what...), ' ')
		return append(strconv.AppendUint(b, percent, 10), '%')
	})},
	{Name: "turns", Title: "TURNS", Width: 7, Right: true, Rank: 47, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return appendSome(b, e.Turns)
	})},
	{Name: "turn_p50", Title: "TURN P50", Width: 8, Right: true, Rank: 47, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return appendKnown(b, e.TurnP50)
	})},
	{Name: "turn_max", Title: "TURN MAX", Width: 8, Right: true, Rank: 47, Extra: true, Cell: closeCell(func(b []byte, e *event.Close) []byte {
		return appendKnown(b, e.TurnMax)
	})},
	{Name: "queue", Title: "QUEUED", Width: 8, Right: true, Rank: 47, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if e, ok := e.(*event.Accept); ok {
			return appendKnown(b, e.Queued)
		}
		return b
	}},
	{Name: "backlog", Title: "BACKLOG", Width: 9, Right: true, Rank: 46, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if e, ok := e.(*event.Accept); ok && e.Queued > 0 {
			b = strconv.AppendUint(b, uint64(e.Backlog), 10)
			return strconv.AppendUint(append(b, '/'), uint64(e.BacklogMax), 10)
		}
		return b
	}},
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

func openCell(cell func([]byte, *event.Open) []byte) func([]byte, event.Event) []byte {
	return func(b []byte, e event.Event) []byte {
		if e, ok := e.(*event.Open); ok {
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
	case *event.Open:
		return &e.Connection
	}
	return &event.Connection{}
}

func connMark(e event.Event) Mark {
	switch e := e.(type) {
	case *event.ConnectFailed, *event.ConnectStuck:
		return Failed
	case *event.Accept:
		if queueFull(e) {
			return Failed
		}
	case *event.Open:
		if !e.Accepted && e.Idle >= queuedTold {
			return Failed
		}
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

// appendSome appends a number unless it is 0.
func appendSome(b []byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(b, n, 10)
}

// appendKnown appends a duration unless it is unknown.
func appendKnown(b []byte, d time.Duration) []byte {
	if d == 0 {
		return b
	}
	return AppendDuration(b, d)
}
