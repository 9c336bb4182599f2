package render

import (
	"strings"
	"time"

	"tracer/trace/event"
)

// allColumns are of programs, connections and exchanges side by side: what happened is a
// text, in the words of the events' own commands.
var allColumns = []Column{
	timeColumn,
	pidColumn,
	commColumn,
	onWide(eventColumn),
	{Name: "what", Title: "WHAT HAPPENED", Width: 30, Min: 16, Rank: 100, Cell: appendWhat},
	extra(uidColumn), extra(cgroupColumn),
	{Name: "src", Title: "SRC", Width: 21, Min: 8, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if c := anyConnOf(e); c != nil {
			return appendEndpoint(b, c.Src)
		}
		return b
	}},
	{Name: "dst", Title: "DST", Width: 21, Min: 8, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if c := anyConnOf(e); c != nil {
			return appendEndpoint(b, c.Dst)
		}
		return b
	}},
	connIDColumn,
}

// onWide is a column that gives way to the text on a narrow terminal, as 80 cells are.
func onWide(c Column) Column {
	c.Room = 90
	return c
}

// isConn reports whether an event is one of conn's.
func isConn(e event.Event) bool {
	switch e.(type) {
	case *event.Connect, *event.ConnectFailed, *event.ConnectStuck, *event.Accept, *event.Close, *event.Open:
		return true
	}
	return false
}

// anyConnOf is the connection of an event of conn or http; nil if it is neither's.
func anyConnOf(e event.Event) *event.Connection {
	if h, ok := e.(*event.HTTP); ok {
		return &h.Connection
	}
	if isConn(e) {
		return connOf(e)
	}
	return nil
}

// appendWhat begins with what matters most: the end may be cut.
func appendWhat(b []byte, e event.Event) []byte {
	if h, ok := e.(*event.HTTP); ok {
		return appendExchange(b, h)
	}
	if !isConn(e) {
		return appendExecCommand(b, e)
	}
	c := connOf(e)
	b = appendConnResult(append(appendEndpoint(b, c.Dst), ' '), e)
	if c.Src.Port() != 0 {
		b = appendEndpoint(append(b, ", from "...), c.Src)
	}
	return b
}

// appendExchange appends how an exchange ended and how long that took to begin, what was
// asked for, how much came and in how long, and who has asked, where that is known.
func appendExchange(b []byte, h *event.HTTP) []byte {
	b = appendHTTPStatus(b, h)
	if h.Slow() {
		b = append(b, " slow"...)
	}
	took := func(word string, d time.Duration) {
		if d > 0 {
			b = AppendDuration(append(b, word...), d)
		}
	}
	switch {
	case h.Kind == event.KindHTTPStuck:
		took(" for ", h.Age)
	case !h.Answered():
		took(" after ", h.Duration)
	default:
		took(" in ", h.Latency)
	}
	b = appendOrUnknown(append(b, ": "...), h.Method)
	if h.Host != "" {
		b = AppendText(append(b, ' '), h.Host)
	}
	if h.Path != "" || h.Method != methodConnect {
		if h.Host == "" || !strings.HasPrefix(h.Path, "/") {
			b = append(b, ' ')
		}
		b = appendOrUnknown(b, h.Path)
	}
	if h.PathTruncated {
		b = append(b, " [cut]"...)
	}
	if h.Answered() {
		b = AppendSize(append(b, ", "...), h.ResponseBytes)
		if h.Duration >= 2*h.Latency { // else it says nothing more
			took(" in ", h.Duration)
		}
	}
	if h.Role == event.RoleBoth {
		b = append(AppendText(append(b, ", from "...), h.PeerComm), '[')
		b = append(appendID(b, h.PeerPID), ']')
	}
	return b
}

func allMark(e event.Event) Mark {
	switch _, exchange := e.(*event.HTTP); {
	case exchange:
		return httpMark(e)
	case isConn(e):
		return connMark(e)
	}
	return execMark(e)
}
