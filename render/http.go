package render

import (
	"bytes"
	"strconv"
	"time"

	"tracer/trace/event"
)

var httpColumns = []Column{
	timeColumn,
	pidColumn,
	commColumn,
	{Name: "peer", Title: "PEER", Width: 28, Min: 8, Rank: 18, Spare: 15, Cell: appendPeer},
	{Name: "role", Title: "ROLE", Width: 6, Rank: 20, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, httpOf(e).Role)
	}},
	{Name: "latency", Title: "LATENCY", Width: 7, Right: true, Rank: 85, Cell: func(b []byte, e event.Event) []byte {
		h := httpOf(e)
		switch {
		case h.Kind == event.KindHTTPStuck:
			return AppendDuration(b, h.Age)
		case !h.Answered():
			return AppendDuration(b, h.Duration)
		case h.Latency == 0:
			return append(b, unknown...)
		}
		return AppendDuration(b, h.Latency)
	}},
	{Name: "total", Title: "TOTAL", Width: 7, Right: true, Rank: 62, Cell: func(b []byte, e event.Event) []byte {
		h := httpOf(e)
		if h.Kind == event.KindHTTPStuck {
			return b // it goes on
		}
		return AppendDuration(b, h.Duration)
	}},
	{Name: "server", Title: "SERVER", Width: 7, Right: true, Rank: 19, Cell: func(b []byte, e event.Event) []byte {
		if h := httpOf(e); h.ServerLatency != 0 {
			return AppendDuration(b, h.ServerLatency)
		}
		return b
	}},
	{Name: "where", Title: "WHERE", Width: 44, Min: 28, Rank: 16, When: wentSomewhere, Cell: appendWhere},
	{Name: "status", Title: "STATUS", Width: 16, Min: 9, Rank: 90, Spare: 61, Cut: cutStatus, Cell: func(b []byte, e event.Event) []byte {
		if b = appendHTTPStatus(b, e); httpOf(e).Slow() {
			b = append(b, " slow"...)
		}
		return b
	}},
	{Name: "size", Title: "SIZE", Width: 7, Right: true, Rank: 35, Cell: func(b []byte, e event.Event) []byte {
		if h := httpOf(e); h.Answered() {
			return AppendSize(b, h.ResponseBytes)
		}
		return b
	}},
	{Name: "method", Title: "METHOD", Width: 7, Min: 4, Rank: 75, Cell: func(b []byte, e event.Event) []byte {
		return appendOrUnknown(b, httpOf(e).Method)
	}},
	{Name: "host", Title: "HOST", Width: 20, Min: 12, Rank: 60, Spare: 34, Cut: cutHost, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, httpOf(e).Host)
	}},
	{Name: "path", Title: "PATH", Width: 24, Min: 8, Rank: 100, Cell: func(b []byte, e event.Event) []byte {
		h := httpOf(e)
		switch {
		case h.PathTruncated:
			return append(AppendText(b, h.Path), " [cut]"...)
		case h.Path == "" && h.Method == methodConnect: // in HTTP/2 it has none
			return b
		}
		return appendOrUnknown(b, h.Path)
	}},
	extra(eventColumn), extra(uidColumn), extra(cgroupColumn),
	{Name: "sent", Title: "SENT", Width: 7, Right: true, Rank: 30, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendSize(b, httpOf(e).RequestBytes)
	}},
	{Name: "src", Title: "SRC", Width: 21, Min: 8, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return append(b, httpOf(e).Src.String()...)
	}},
	{Name: "dst", Title: "DST", Width: 21, Min: 8, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return append(b, httpOf(e).Dst.String()...)
	}},
	connIDColumn,
	{Name: "version", Title: "VERSION", Width: 7, Rank: 12, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, httpOf(e).Version)
	}},
	{Name: "stream", Title: "STREAM", Width: 6, Right: true, Rank: 11, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if h := httpOf(e); h.Stream != 0 {
			return appendID(b, h.Stream)
		}
		return b
	}},
	{Name: "trace", Title: "TRACE", Width: 32, Min: 8, Rank: 10, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if id := httpOf(e).TraceID; !id.IsZero() {
			return append(b, id.String()...)
		}
		return b
	}},
	{Name: "parent", Title: "PARENT", Width: 16, Min: 8, Rank: 9, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if id := httpOf(e).ParentID; !id.IsZero() {
			return append(b, id.String()...)
		}
		return b
	}},
	{Name: "grpc", Title: "GRPC", Width: 16, Min: 8, Rank: 33, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		h := httpOf(e)
		if !h.GRPC {
			return b
		}
		if b = append(b, grpcNames[min(h.GRPCStatus, uint32(len(grpcNames)-1))]...); h.GRPCMessage != "" {
			b = AppendText(append(b, ": "...), h.GRPCMessage)
		}
		return b
	}},
}

// appendPeer appends who asked, and in which pod or container.
func appendPeer(b []byte, e event.Event) []byte {
	h := httpOf(e)
	if h.Role != event.RoleBoth {
		return b
	}
	b = append(AppendText(b, h.PeerComm), '[')
	b = append(appendID(b, h.PeerPID), ']')
	switch {
	case h.PeerPod != "" && h.PeerNamespace != "":
		b = append(AppendText(append(b, ' '), h.PeerNamespace), '/')
		return AppendText(b, h.PeerPod)
	case h.PeerPod != "":
		return AppendText(append(b, ' '), h.PeerPod)
	case h.PeerContainer != "":
		return AppendText(append(b, ' '), h.PeerContainer)
	}
	return b
}

// whereWords are what of the server's time is known, in the order in which it was spent.
var whereWords = []struct {
	took func(*event.Where) time.Duration
	word string
}{
	{func(w *event.Where) time.Duration { return w.AcceptWait }, " to accept"},
	{func(w *event.Where) time.Duration { return w.Queue }, " in the socket"},
	{func(w *event.Where) time.Duration { return w.CPU }, " cpu"},
	{func(w *event.Where) time.Duration { return w.RunQueue }, " run queue"},
	{func(w *event.Where) time.Duration { return w.Blocked }, " blocked"},
}

// appendWhere appends where the time went at the server, as "300ms in the socket, 80ms
// blocked".
func appendWhere(b []byte, e event.Event) []byte {
	where, some := httpOf(e).Where(), false
	for _, w := range whereWords {
		took := w.took(&where)
		if took == 0 {
			continue
		}
		if some {
			b = append(b, ", "...)
		}
		b, some = append(AppendDuration(b, took), w.word...), true
	}
	return b
}

// wentSomewhere reports whether it is known of an exchange where its time went.
func wentSomewhere(e event.Event) bool {
	where := httpOf(e).Where()
	return where.Known()
}

const (
	unknown       = "?"
	methodConnect = "CONNECT"
)

// appendOrUnknown appends a text, or that it is not known.
func appendOrUnknown(b []byte, s string) []byte {
	if s == "" {
		return append(b, unknown...)
	}
	return AppendText(b, s)
}

// grpcNames are those of the statuses of gRPC:
// https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
var grpcNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
	"UNAUTHENTICATED", unknown,
}

func httpOf(e event.Event) *event.HTTP {
	if h, ok := e.(*event.HTTP); ok {
		return h
	}
	return &event.HTTP{}
}

// appendHTTPStatus appends the status, or a word where there is none, or both where an
// answer is incomplete or was not read.
func appendHTTPStatus(b []byte, e event.Event) []byte {
	h := httpOf(e)
	switch {
	case h.Kind == event.KindHTTPStuck:
		return append(b, "waits"...)
	case h.GRPC && h.GRPCStatus != 0 && h.Status == 200: // as it always is
		b = strconv.AppendUint(append(b, "grpc "...), uint64(h.GRPCStatus), 10)
	case h.Status != 0:
		b = strconv.AppendInt(b, int64(h.Status), 10)
	case h.Answered():
		b = append(b, unknown...)
	}
	switch {
	case h.Error == "":
		return b
	case h.Answered():
		return append(b, " cut"...)
	case h.Status != 0 && h.ResetCode == "":
		return append(b, " gone"...) // the client was, and has not taken the answer
	case h.Status != 0:
		b = append(b, ' ')
	}
	if h.ResetCode != "" {
		return AppendText(b, h.ResetCode)
	}
	return appendHTTPEnd(b, h)
}

// appendHTTPEnd appends why there was no answer, and whose doing that was.
func appendHTTPEnd(b []byte, h *event.HTTP) []byte {
	b = AppendText(b, h.Error)
	if h.ClosedBy != "" && (h.Error == event.ReasonClosed || h.Error == event.ReasonReset) {
		b = AppendText(append(b, byWhom...), h.ClosedBy)
	}
	return b
}

const byWhom = " by "

// cutStatus keeps who gave up, where that is said: "by client".
func cutStatus(text []byte, width int) []byte {
	if at := bytes.Index(text, []byte(byWhom)) + 1; at > 0 && len(text)-at <= width {
		return text[at:]
	}
	return cut(text, width)
}

func httpMark(e event.Event) Mark {
	switch h := httpOf(e); {
	case h.Kind == event.KindHTTPStuck || h.Failed() || h.Error != "":
		return Failed
	case h.Slow():
		return Slow
	}
	return Usual
}
