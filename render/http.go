package render

import (
	"strconv"

	"tracer/trace/event"
)

var httpColumns = []Column{
	timeColumn,
	pidColumn,
	commColumn,
	{Name: "role", Title: "ROLE", Width: 6, Rank: 20, Cell: func(b []byte, e event.Event) []byte {
		return append(b, httpOf(e).Role...)
	}},
	{Name: "latency", Title: "LATENCY", Width: 7, Right: true, Rank: 85, Cell: func(b []byte, e event.Event) []byte {
		h := httpOf(e)
		switch {
		case h.Kind == event.KindHTTPStuck:
			return AppendDuration(b, h.Age)
		case h.Status == 0:
			return AppendDuration(b, h.Duration)
		}
		return AppendDuration(b, h.Latency)
	}},
	{Name: "status", Title: "STATUS", Width: 7, Rank: 90, Cell: appendHTTPStatus},
	{Name: "size", Title: "SIZE", Width: 7, Right: true, Rank: 35, Cell: func(b []byte, e event.Event) []byte {
		if h := httpOf(e); h.Status != 0 {
			return AppendSize(b, h.ResponseBytes)
		}
		return b
	}},
	{Name: "method", Title: "METHOD", Width: 7, Min: 4, Rank: 75, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, httpOf(e).Method)
	}},
	{Name: "host", Title: "HOST", Width: 20, Min: 8, Rank: 60, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, httpOf(e).Host)
	}},
	{Name: "path", Title: "PATH", Width: 24, Min: 8, Rank: 100, Cell: func(b []byte, e event.Event) []byte {
		h := httpOf(e)
		b = AppendText(b, h.Path)
		if h.PathTruncated {
			b = append(b, " [cut]"...)
		}
		return b
	}},
	extra(eventColumn), extra(uidColumn), extra(cgroupColumn),
	{Name: "duration", Title: "DURATION", Width: 8, Right: true, Rank: 50, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendDuration(b, httpOf(e).Duration)
	}},
	{Name: "server", Title: "SERVER", Width: 7, Right: true, Rank: 45, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if h := httpOf(e); h.Role == event.RoleBoth && h.Status != 0 {
			return AppendDuration(b, h.ServerLatency)
		}
		return b
	}},
	{Name: "sent", Title: "SENT", Width: 7, Right: true, Rank: 30, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendSize(b, httpOf(e).RequestBytes)
	}},
	{Name: "peer", Title: "PEER", Width: 15, Min: 8, Rank: 31, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if h := httpOf(e); h.Role == event.RoleBoth {
			b = append(AppendText(b, h.PeerComm), '[')
			return append(appendID(b, h.PeerPID), ']')
		}
		return b
	}},
	{Name: "src", Title: "SRC", Width: 21, Min: 8, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return append(b, httpOf(e).Src.String()...)
	}},
	{Name: "dst", Title: "DST", Width: 21, Min: 8, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return append(b, httpOf(e).Dst.String()...)
	}},
	connIDColumn,
}

func httpOf(e event.Event) *event.HTTP {
	if h, ok := e.(*event.HTTP); ok {
		return h
	}
	return &event.HTTP{}
}

// appendHTTPStatus appends the status, or a word where there is none.
func appendHTTPStatus(b []byte, e event.Event) []byte {
	h := httpOf(e)
	switch {
	case h.Kind == event.KindHTTPStuck:
		return append(b, "waits"...)
	case h.Status == 0:
		return append(b, h.Error...)
	}
	b = strconv.AppendInt(b, int64(h.Status), 10)
	if h.Error != "" {
		b = append(b, " cut"...) // the answer is incomplete
	}
	return b
}

func httpMark(e event.Event) Mark {
	if h := httpOf(e); h.Kind == event.KindHTTPStuck || h.Status == 0 || h.Status >= 500 || h.Error != "" {
		return Failed
	}
	return Usual
}
