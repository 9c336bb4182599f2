package render

import (
	"slices"
	"strconv"
	"time"

	"tracer/trace/event"
)

// The columns of conn --summary. The result comes last, beside the destination: the last
// column of text takes the rest of a line.
var connSummaryColumns = []Column{
	{Name: "time", Title: "TIME", Width: 12, Rank: 30, Interval: true, Extra: true, Cell: timeColumn.Cell},
	{Name: "count", Title: "COUNT", Width: 7, Right: true, Rank: 95, Cell: func(b []byte, e event.Event) []byte {
		return strconv.AppendUint(b, connSummaryOf(e).Count, 10)
	}},
	{Name: "rate", Title: "RATE/S", Width: 6, Right: true, Rank: 78, Cell: func(b []byte, e event.Event) []byte {
		return appendPace(b, connSummaryOf(e).Rate)
	}},
	connSummaryLatency("p50", "P50", 72, func(s *event.ConnSummary) time.Duration { return s.P50 }),
	connSummaryLatency("max", "MAX", 73, func(s *event.ConnSummary) time.Duration { return s.Max }),
	{Name: "tx", Title: "SENT", Width: 8, Right: true, Rank: 62, Cell: func(b []byte, e event.Event) []byte {
		return appendMoved(b, connSummaryOf(e).Tx)
	}},
	{Name: "rx", Title: "RECEIVED", Width: 8, Right: true, Rank: 62, Cell: func(b []byte, e event.Event) []byte {
		return appendMoved(b, connSummaryOf(e).Rx)
	}},
	extra(turnColumns[0]), extra(turnColumns[1]), extra(turnColumns[2]), extra(turnColumns[3]),
	connSummaryTime("first", "FIRST", 50, func(s *event.ConnSummary) time.Time { return s.First }),
	connSummaryTime("last", "LAST", 60, func(s *event.ConnSummary) time.Time { return s.Last }),
	ranked(pidColumn, 80),
	{Name: "comm", Title: "COMM", Width: 15, Min: 8, Rank: 85, Cell: commColumn.Cell},
	{Name: "dst", Title: "DESTINATION", Width: 23, Min: 7, Rank: 100, Keep: true, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		s := connSummaryOf(e)
		if s.Role == "" {
			return b
		}
		if s.Role == event.RoleServer {
			b = append(b, "at "...)
		}
		return appendEndpoint(b, s.Dst)
	}},
	{Name: "result", Title: "RESULT", Width: 12, Min: 9, Rank: 99, Keep: true, Cell: func(b []byte, e event.Event) []byte {
		return appendSummaryResult(b, connSummaryOf(e).Result)
	}},
	{Name: "role", Title: "ROLE", Width: 6, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, connSummaryOf(e).Role)
	}},
	extra(eventColumn), extra(uidColumn), extra(cgroupColumn),
}

// turnColumns are shown with --turns: how often servers have answered, and how long that
// took.
var turnColumns = []Column{
	{Name: "turns", Title: "TURNS", Width: 6, Right: true, Rank: 83, Cell: func(b []byte, e event.Event) []byte {
		return appendSome(b, connSummaryOf(e).Turns)
	}},
	connTurn("turn_p50", "TURN P50", 82, func(s *event.ConnSummary) time.Duration { return s.TurnP50 }),
	connTurn("turn_p99", "TURN P99", 64, func(s *event.ConnSummary) time.Duration { return s.TurnP99 }),
	connTurn("turn_max", "TURN MAX", 76, func(s *event.ConnSummary) time.Duration { return s.TurnMax }),
}

func connTurn(name, title string, rank int, of func(*event.ConnSummary) time.Duration) Column {
	return Column{Name: name, Title: title, Width: 8, Right: true, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		return appendKnown(b, of(connSummaryOf(e)))
	}}
}

// connTurnsColumns are those of conn --summary --turns.
func connTurnsColumns() []Column {
	columns := slices.Clone(connSummaryColumns)
	for _, turn := range turnColumns {
		i := slices.IndexFunc(columns, func(c Column) bool { return c.Name == turn.Name })
		columns[i] = turn
	}
	return columns
}

// connSummaryLatency is a column of times that a SYN took to be answered.
func connSummaryLatency(name, title string, rank int, of func(*event.ConnSummary) time.Duration) Column {
	return Column{Name: name, Title: title, Width: 6, Right: true, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		if s := connSummaryOf(e); s.Answered > 0 {
			return AppendDuration(b, of(s))
		}
		return b
	}}
}

func connSummaryTime(name, title string, rank int, of func(*event.ConnSummary) time.Time) Column {
	return Column{Name: name, Title: title, Width: 8, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		if t := of(connSummaryOf(e)); !t.IsZero() {
			return t.In(time.Local).AppendFormat(b, "15:04:05")
		}
		return b
	}}
}

func connSummaryOf(e event.Event) *event.ConnSummary {
	if s, ok := e.(*event.ConnSummary); ok {
		return s
	}
	return &event.ConnSummary{}
}

// connSummaryMark marks what fails, and as quiet what had no connection in the interval.
func connSummaryMark(e event.Event) Mark {
	switch s := connSummaryOf(e); {
	case s.Failed():
		return Failed
	case s.Rate == 0 && s.Turns == 0:
		return Quiet
	}
	return Usual
}

// appendSummaryResult appends a result as rows of single connections have it.
func appendSummaryResult(b []byte, result string) []byte {
	switch result {
	case "ECONNREFUSED":
		return append(b, "refused"...)
	case "ECANCELED":
		return append(b, "given up"...)
	case "ETIMEDOUT":
		return append(b, "timed out"...)
	}
	return AppendText(b, result)
}

// appendConnSummaryTitle sums up all connections.
func appendConnSummaryTitle(b []byte, p *event.Page) []byte {
	s := connSummaryOf(p.Sum)
	b = AppendDuration(b, p.Elapsed.Round(time.Second/10))
	b = strconv.AppendUint(append(b, ": "...), s.Count, 10)
	b = append(b, " connections"...)
	if s.Count == 1 {
		b = b[:len(b)-1]
	}
	if s.Rate > 0 {
		b = append(appendPace(append(b, " ("...), s.Rate), "/s)"...)
	}
	b = strconv.AppendInt(append(b, " in "...), int64(p.Total), 10)
	b = append(b, " rows"...)
	if p.Total == 1 {
		b = b[:len(b)-1]
	}
	return b
}
