package render

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"tracer/trace/event"
)

// The columns of http --summary. The route comes last: the last column of text takes
// the rest of a line.
var summaryColumns = []Column{
	{Name: "time", Title: "TIME", Width: 12, Rank: 30, Interval: true, Cell: timeColumn.Cell},
	{Name: "count", Title: "COUNT", Width: 7, Right: true, Rank: 95, Cell: func(b []byte, e event.Event) []byte {
		return strconv.AppendUint(b, summaryOf(e).Count, 10)
	}},
	{Name: "rate", Title: "RATE/S", Width: 6, Right: true, Rank: 62, Cell: func(b []byte, e event.Event) []byte {
		return appendPace(b, summaryOf(e).Rate)
	}},
	summaryCount("errors", "ERRORS", 6, 92, func(s *event.HTTPSummary) uint64 { return s.Errors }),
	onlyWhere(summaryCount("4xx", "4XX", 6, 66, func(s *event.HTTPSummary) uint64 { return s.Status4xx })),
	onlyWhere(summaryCount("5xx", "5XX", 6, 66, func(s *event.HTTPSummary) uint64 { return s.Status5xx })),
	onlyWhere(summaryCount("unanswered", "UNANSWERED", 10, 66, func(s *event.HTTPSummary) uint64 { return s.Unanswered })),
	onlyWhere(summaryCount("waiting", "WAITING", 7, 94, func(s *event.HTTPSummary) uint64 { return s.Waiting })),
	onlyWhere(summaryTime("oldest", "OLDEST", 6, 61, func(s *event.HTTPSummary) time.Duration { return s.Oldest })),
	summaryTime("total", "TOTAL TIME", 10, 97, func(s *event.HTTPSummary) time.Duration { return s.Spent }),
	summaryTime("p50", "P50", 6, 80, func(s *event.HTTPSummary) time.Duration { return s.P50 }),
	serversPart("server_p50", "SRV P50", 78, func(s *event.HTTPSummary) time.Duration { return s.ServerP50 }),
	summaryTime("p90", "P90", 6, 46, func(s *event.HTTPSummary) time.Duration { return s.P90 }),
	summaryTime("p99", "P99", 6, 85, func(s *event.HTTPSummary) time.Duration { return s.P99 }),
	serversPart("server_p99", "SRV P99", 50, func(s *event.HTTPSummary) time.Duration { return s.ServerP99 }),
	summaryTime("max", "MAX", 6, 55, func(s *event.HTTPSummary) time.Duration { return s.Max }),
	{Name: "histogram", Title: spreadAxis, Width: event.SpreadCells, Rank: 40, Cell: appendSpread},
	{Name: "where", Title: "WHERE", Width: 30, Min: 22, Rank: 45, When: func(e event.Event) bool { return summaryOf(e).Where.Known() }, Cell: appendShares},
	{Name: "state", Title: "STATE", Width: 7, Rank: 91, When: func(e event.Event) bool { return stateOf(summaryOf(e)) != "" }, Cell: func(b []byte, e event.Event) []byte {
		return append(b, stateOf(summaryOf(e))...)
	}},
	{Name: "method", Title: "METHOD", Width: 7, Min: 6, Rank: 75, Cell: func(b []byte, e event.Event) []byte {
		s := summaryOf(e)
		if s.Route == "" && s.Method == "" {
			return append(b, unknown...)
		}
		return AppendText(b, s.Method)
	}},
	{Name: "host", Title: "HOST", Width: 20, Min: 12, Rank: 65, Spare: 35, Cut: cutHost, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, summaryOf(e).Host)
	}},
	{Name: "route", Title: "ROUTE", Width: 24, Min: 16, Rank: 100, Spare: 45, Cell: func(b []byte, e event.Event) []byte {
		s := summaryOf(e)
		if s.Route == "" && s.Method == methodConnect {
			return b
		}
		return appendOrUnknown(b, s.Route)
	}},
	extra(eventColumn),
	{Name: "last", Title: "LAST", Width: 12, Rank: 20, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if s := summaryOf(e); !s.Last.IsZero() {
			return s.Last.In(time.Local).AppendFormat(b, "15:04:05.000")
		}
		return b
	}},
}

// summaryCount is a column of counts, empty for none.
func summaryCount(name, title string, width, rank int, of func(*event.HTTPSummary) uint64) Column {
	return Column{Name: name, Title: title, Width: width, Right: true, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		if n := of(summaryOf(e)); n > 0 {
			return strconv.AppendUint(b, n, 10)
		}
		return b
	}}
}

// summaryTime is a column of times, empty where there is none.
func summaryTime(name, title string, width, rank int, of func(*event.HTTPSummary) time.Duration) Column {
	return Column{Name: name, Title: title, Width: width, Right: true, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		if d := of(summaryOf(e)); d > 0 {
			return AppendDuration(b, d)
		}
		return b
	}}
}

// onlyWhere is a column that is shown once it has something to show.
func onlyWhere(c Column) Column {
	c.When = func(e event.Event) bool { return len(c.Cell(nil, e)) > 0 }
	return c
}

// serversPart is a column of the server's latencies, shown once they can differ from
// those of the clients.
func serversPart(name, title string, rank int, of func(*event.HTTPSummary) time.Duration) Column {
	c := summaryTime(name, title, 7, rank, of)
	c.When = func(e event.Event) bool { return summaryOf(e).Both }
	return c
}

// spreadAxis is the title of a histogram: each time stands above the cell that begins there.
const spreadAxis = "10µs  1ms   100ms 10s"

// appendSpread appends a histogram of latencies. A cell with any of them shows something.
func appendSpread(b []byte, e event.Event) []byte {
	spread := &summaryOf(e).Spread
	most := slices.Max(spread[:])
	if most == 0 {
		return b
	}
	for _, n := range spread {
		if n == 0 {
			b = append(b, ' ')
			continue
		}
		eighths := max(1, int(float64(n)/float64(most)*8+0.5))
		b = utf8.AppendRune(b, '▁'+rune(eighths-1))
	}
	return b
}

// appendShares appends where the time of a route went at the server, the most first, as
// "78% in the socket, 21% blocked": shares of what is known of that.
func appendShares(b []byte, e event.Event) []byte {
	where := &summaryOf(e).Where
	type share struct {
		percent int64
		word    string
	}
	var sum time.Duration
	for _, w := range whereWords {
		sum += w.took(where)
	}
	var shares []share
	for _, w := range whereWords {
		// What is less than one in a hundred is not worth a word.
		if took := w.took(where); took >= sum/100 && took > 0 {
			shares = append(shares, share{int64((took*100 + sum/2) / sum), w.word})
		}
	}
	slices.SortStableFunc(shares, func(a, b share) int { return cmp.Compare(b.percent, a.percent) })
	for i, s := range shares {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(strconv.AppendInt(b, s.percent, 10), '%')
		b = append(b, s.word...)
	}
	return b
}

// stateOf is a word for what is wrong with a route; empty if nothing is.
func stateOf(s *event.HTTPSummary) string {
	switch {
	case s.Waiting > 0 && s.Oldest >= event.SlowLatency && s.Oldest > s.Max:
		return stateWaits
	case s.Slow:
		return "slow"
	case s.Failing:
		return "errors"
	}
	return ""
}

// stateWaits: a request waits longer than any answer took.
const stateWaits = "waits"

func summaryOf(e event.Event) *event.HTTPSummary {
	if s, ok := e.(*event.HTTPSummary); ok {
		return s
	}
	return &event.HTTPSummary{}
}

// summaryMark marks routes for what is wrong with them, and those without a request now
// as quiet.
func summaryMark(e event.Event) Mark {
	s := summaryOf(e)
	switch state := stateOf(s); {
	case s.Failing || state == stateWaits:
		return Failed
	case s.Slow:
		return Slow
	case s.Rate == 0 && s.Waiting == 0:
		return Quiet
	}
	return Usual
}

// appendPace appends a rate, in three digits or as an integer, nothing for none.
func appendPace(b []byte, perSecond float64) []byte {
	switch {
	case perSecond == 0:
		return b
	case perSecond < 0.005:
		return append(b, "<0.01"...)
	case perSecond < 999.5:
		return appendThree(b, perSecond)
	}
	return strconv.AppendUint(b, uint64(math.Round(perSecond)), 10)
}

// appendSummaryTitle sums up all exchanges.
func appendSummaryTitle(b []byte, p *event.Page) []byte {
	s := summaryOf(p.Sum)
	b = AppendDuration(b, p.Elapsed.Round(time.Second/10))
	b = strconv.AppendUint(append(b, ": "...), s.Count, 10)
	b = append(b, " exchanges"...)
	if s.Count == 1 {
		b = b[:len(b)-1]
	}
	if s.Rate > 0 {
		b = append(appendPace(append(b, " ("...), s.Rate), "/s)"...)
	}
	b = strconv.AppendUint(append(b, ", "...), s.Errors, 10)
	b = append(b, " errors"...)
	if s.Errors == 1 {
		b = b[:len(b)-1]
	}
	if s.Waiting > 0 {
		b = strconv.AppendUint(append(b, ", "...), s.Waiting, 10)
		b = append(AppendDuration(append(b, " waiting (oldest "...), s.Oldest), ')')
	}
	if s.Answered == 0 {
		return b
	}
	for _, l := range []struct {
		name string
		d    time.Duration
	}{{"p50", s.P50}, {"p90", s.P90}, {"p99", s.P99}, {"max", s.Max}} {
		b = append(append(append(b, ", "...), l.name...), ' ')
		b = AppendDuration(b, l.d)
	}
	if s.Both {
		b = AppendDuration(append(b, ", server p50 "...), s.ServerP50)
		b = AppendDuration(append(b, ", p99 "...), s.ServerP99)
	}
	return b
}

// appendSlowest describes one of the slowest exchanges.
func appendSlowest(b []byte, e event.Event) []byte {
	h, ok := e.(*event.HTTP)
	if !ok {
		return b
	}
	took := h.Latency
	if took == 0 {
		took = h.Duration
	}
	b = AppendDuration(append(b, "slowest: "...), took)
	if h.ServerLatency != 0 {
		b = append(AppendDuration(append(b, " (server "...), h.ServerLatency), ')')
	}
	b = append(b, ' ')
	if !h.Answered() {
		b = append(b, "unanswered, "...)
	}
	b = appendHTTPStatus(b, h)
	b = h.Time.In(time.Local).AppendFormat(append(b, ' '), "15:04:05.000")
	b = append(AppendText(append(b, ' '), h.Comm), '[')
	b = append(appendID(b, h.PID), "] "...)
	b = append(appendOrUnknown(b, h.Method), ' ')
	b = AppendText(b, h.Host)
	if h.Path == "" && h.Method == methodConnect {
		return b
	}
	return appendOrUnknown(b, h.Path)
}
