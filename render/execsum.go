package render

import (
	"strconv"
	"time"

	"tracer/trace/event"
)

// The columns of exec --summary. The program comes last: the last column of text takes
// the rest of a line.
var execSummaryColumns = []Column{
	{Name: "time", Title: "TIME", Width: 12, Rank: 30, Interval: true, Cell: timeColumn.Cell},
	execCount("count", "COUNT", 7, 95, func(s *event.ExecSummary) uint64 { return s.Count }),
	{Name: "rate", Title: "RATE/S", Width: 6, Right: true, Rank: 50, Cell: func(b []byte, e event.Event) []byte {
		return appendPace(b, execSummaryOf(e).Rate)
	}},
	execCount("failed", "FAILED", 6, 94, func(s *event.ExecSummary) uint64 { return s.Failed }),
	execCount("killed", "KILLED", 6, 93, func(s *event.ExecSummary) uint64 { return s.Killed }),
	execCount("exec_failed", "NO EXEC", 7, 92, func(s *event.ExecSummary) uint64 { return s.ExecFailed }),
	execTime("total", "TOTAL", 7, 91, func(s *event.ExecSummary) time.Duration { return s.Total }),
	execTime("max", "LONGEST", 7, 60, func(s *event.ExecSummary) time.Duration { return s.Max }),
	{Name: "parent", Title: "PARENT", Width: 15, Min: 8, Rank: 70, Cell: func(b []byte, e event.Event) []byte {
		return appendOrUnknown(b, execSummaryOf(e).ParentComm)
	}},
	{Name: "exe", Title: "PROGRAM", Width: 24, Min: 16, Rank: 100, Spare: 88, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		return appendOrUnknown(b, execSummaryOf(e).Exe)
	}},
	extra(eventColumn),
}

// execCount is a column of numbers, empty for none.
func execCount(name, title string, width, rank int, of func(*event.ExecSummary) uint64) Column {
	return Column{Name: name, Title: title, Width: width, Right: true, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		if n := of(execSummaryOf(e)); n > 0 {
			return strconv.AppendUint(b, n, 10)
		}
		return b
	}}
}

// execTime is a column of durations, empty while no program has ended.
func execTime(name, title string, width, rank int, of func(*event.ExecSummary) time.Duration) Column {
	return Column{Name: name, Title: title, Width: width, Right: true, Rank: rank, Cell: func(b []byte, e event.Event) []byte {
		return appendKnown(b, of(execSummaryOf(e)))
	}}
}

func execSummaryOf(e event.Event) *event.ExecSummary {
	if s, ok := e.(*event.ExecSummary); ok {
		return s
	}
	return &event.ExecSummary{}
}

// execSummaryMark marks programs that fail now, and those that do not start now as quiet.
func execSummaryMark(e event.Event) Mark {
	switch s := execSummaryOf(e); {
	case s.Failing:
		return Failed
	case s.Rate == 0:
		return Quiet
	}
	return Usual
}

// appendExecTitle sums up all programs.
func appendExecTitle(b []byte, p *event.Page) []byte {
	s := execSummaryOf(p.Sum)
	b = AppendDuration(b, p.Elapsed.Round(time.Second/10))
	b = strconv.AppendUint(append(b, ": "...), s.Count, 10)
	b = append(b, " programs"...)
	if s.Count == 1 {
		b = b[:len(b)-1]
	}
	if s.Rate > 0 {
		b = append(appendPace(append(b, " ("...), s.Rate), "/s)"...)
	}
	for _, part := range []struct {
		n    uint64
		text string
	}{{s.Failed, " failed"}, {s.Killed, " killed"}, {s.ExecFailed, " not started"}} {
		if part.n > 0 {
			b = append(strconv.AppendUint(append(b, ", "...), part.n, 10), part.text...)
		}
	}
	if s.Total > 0 {
		b = append(AppendDuration(append(b, ", "...), s.Total), " in all"...)
		b = AppendDuration(append(b, ", longest "...), s.Max)
	}
	return b
}
