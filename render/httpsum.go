package render

import (
	"math"
	"strconv"
	"time"

	"tracer/trace/event"
)

// The columns of http --summary. The route comes last: the last column of text takes
// the rest of a line.
var summaryColumns = []Column{
	{Name: "time", Title: "TIME", Width: 12, Rank: 30, Interval: true, Cell: timeColumn.Cell},
	{Name: "count", Title: "COUNT", Width: 7, Right: true, Rank: 95, Cell: func(b []byte, e event.Event) []byte {
		return strconv.AppendUint(b, summaryOf(e).Count, 10)
	}},
	{Name: "rate", Title: "RATE/S", Width: 6, Right: true, Rank: 70, Cell: func(b []byte, e event.Event) []byte {
		return appendPace(b, summaryOf(e).Rate)
	}},
	{Name: "errors", Title: "ERRORS", Width: 6, Right: true, Rank: 92, Cell: func(b []byte, e event.Event) []byte {
		if n := summaryOf(e).Errors; n > 0 {
			return strconv.AppendUint(b, n, 10)
		}
		return b
	}},
	{Name: "waiting", Title: "WAITING", Width: 7, Right: true, Rank: 94, When: waits, Cell: func(b []byte, e event.Event) []byte {
		if n := summaryOf(e).Waiting; n > 0 {
			return strconv.AppendUint(b, n, 10)
		}
		return b
	}},
	{Name: "oldest", Title: "OLDEST", Width: 6, Right: true, Rank: 93, When: waits, Cell: func(b []byte, e event.Event) []byte {
		if s := summaryOf(e); s.Waiting > 0 {
			return AppendDuration(b, s.Oldest)
		}
		return b
	}},
	summaryLatency("p50", "P50", 80, func(s *event.HTTPSummary) time.Duration { return s.P50 }),
	summaryLatency("p90", "P90", 50, func(s *event.HTTPSummary) time.Duration { return s.P90 }),
	summaryLatency("p99", "P99", 85, func(s *event.HTTPSummary) time.Duration { return s.P99 }),
	summaryLatency("max", "MAX", 60, func(s *event.HTTPSummary) time.Duration { return s.Max }),
	{Name: "method", Title: "METHOD", Width: 7, Min: 6, Rank: 75, Cell: func(b []byte, e event.Event) []byte {
		s := summaryOf(e)
		if s.Route == "" && s.Method == "" {
			return append(b, unknown...)
		}
		return AppendText(b, s.Method)
	}},
	{Name: "host", Title: "HOST", Width: 20, Min: 8, Rank: 65, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, summaryOf(e).Host)
	}},
	{Name: "route", Title: "ROUTE", Width: 24, Min: 8, Rank: 100, Cell: func(b []byte, e event.Event) []byte {
		s := summaryOf(e)
		if s.Route == "" && s.Method == methodConnect {
			return b
		}
		return appendOrUnknown(b, s.Route)
	}},
	extra(eventColumn),
}

// waits is when the columns of requests that wait are shown.
func waits(e event.Event) bool { return summaryOf(e).Waiting > 0 }

// summaryLatency is a column of latencies, empty for routes without an answer.
func summaryLatency(name, title string, rank int, of func(*event.HTTPSummary) time.Duration) Column {
	return Column{Name: name, Title: title, Width: 6, Right: true, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		if s := summaryOf(e); s.Answered > 0 {
			return AppendDuration(b, of(s))
		}
		return b
	}}
}

func summaryOf(e event.Event) *event.HTTPSummary {
	if s, ok := e.(*event.HTTPSummary); ok {
		return s
	}
	return &event.HTTPSummary{}
}

// summaryMark marks routes that fail now, and those without a request now as quiet.
func summaryMark(e event.Event) Mark {
	switch s := summaryOf(e); {
	case s.Failing:
		return Failed
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
