package render

import (
	"slices"
	"strconv"
	"time"

	"tracer/trace/event"
)

// The columns of traffic in their order, without those that name a row.
var (
	trafficTimes = Column{Name: "time", Title: "TIME", Width: 12, Rank: 30, Interval: true, Cell: timeColumn.Cell}
	trafficProto = Column{Name: "proto", Title: "PROTO", Width: 5, Rank: 62, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, trafficOf(e).Proto)
	}}
	trafficSums = []Column{
		{Name: "tx_rate", Title: "SENT/S", Width: 8, Right: true, Rank: 60, Interval: true, Cell: func(b []byte, e event.Event) []byte {
			t := trafficOf(e)
			return appendRate(b, t.Tx, t.Interval)
		}},
		{Name: "rx_rate", Title: "RECV/S", Width: 8, Right: true, Rank: 60, Interval: true, Cell: func(b []byte, e event.Event) []byte {
			t := trafficOf(e)
			return appendRate(b, t.Rx, t.Interval)
		}},
		{Name: "tx", Title: "SENT", Width: 8, Right: true, Rank: 56, Cell: func(b []byte, e event.Event) []byte {
			return AppendSize(b, trafficOf(e).TotalTx)
		}},
		{Name: "rx", Title: "RECEIVED", Width: 8, Right: true, Rank: 56, Cell: func(b []byte, e event.Event) []byte {
			return AppendSize(b, trafficOf(e).TotalRx)
		}},
		{Name: "part", Title: "PART", Width: 15, Min: 15, Rank: 20, Cell: appendPart},
	}
	trafficPeer = Column{Name: "peer", Title: "PEER", Width: 39, Min: 12, Rank: 59, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		if p := trafficOf(e).Peer; p.IsValid() {
			return p.AppendTo(b)
		}
		return append(b, '*')
	}}
	trafficPort = Column{Name: "port", Title: "PORT", Width: 6, Right: true, Rank: 90, Cell: func(b []byte, e event.Event) []byte {
		if port := trafficOf(e).Dst.Port(); port != 0 {
			return strconv.AppendUint(b, uint64(port), 10)
		}
		return append(b, '*')
	}}
	// Narrower than elsewhere: process, destination and all sums fit in 80 cells.
	trafficComm = Column{Name: "comm", Title: "COMM", Width: 14, Min: 8, Rank: 58, Cell: commColumn.Cell}
	trafficSrc  = Column{Name: "src", Title: "SOURCE →", Width: 23, Min: 16, Rank: 35, Right: true, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		return append(appendEndpoint(b, trafficOf(e).Src), " →"...)
	}}
	trafficDst = Column{Name: "dst", Title: "DESTINATION", Width: 21, Min: 10, Rank: 90, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		return appendEndpoint(b, trafficOf(e).Dst)
	}}
)

// trafficView is a view whose rows are named by the given columns.
func trafficView(named ...Column) View {
	columns := slices.Concat([]Column{trafficTimes}, named, trafficSums)
	for _, c := range []Column{eventColumn, uidColumn, cgroupColumn} {
		if !slices.ContainsFunc(columns, func(other Column) bool { return other.Name == c.Name }) {
			columns = append(columns, extra(c))
		}
	}
	return View{
		Columns: columns,
		Mark:    trafficMark,
		Paged:   true,
		Title:   appendTrafficTitle,
	}
}

// ranked is a column with another rank than elsewhere: here the sums matter more
// than part of the columns that name a row.
func ranked(c Column, rank int) Column {
	c.Rank = rank
	return c
}

func trafficOf(e event.Event) *event.Traffic {
	if t, ok := e.(*event.Traffic); ok {
		return t
	}
	return &event.Traffic{}
}

// trafficMark marks rows that move nothing now as quiet.
func trafficMark(e event.Event) Mark {
	if t := trafficOf(e); t.Interval > 0 && t.Tx+t.Rx == 0 {
		return Quiet
	}
	return Usual
}

// appendRate appends bytes per second, nothing for none.
func appendRate(b []byte, n uint64, d time.Duration) []byte {
	if n == 0 || d <= 0 {
		return b
	}
	return AppendSize(b, uint64(float64(n)/d.Seconds()+0.5))
}

// appendPart appends a share of the total, as a percentage and as a bar.
func appendPart(b []byte, e event.Event) []byte {
	const cells = 10
	part := trafficOf(e).Part
	if part <= 0 {
		return b
	}
	percent := int(part*100 + 0.5)
	for n := percent; n < 100; n = n*10 + 1 { // aligned to the right, in three cells
		b = append(b, ' ')
	}
	b = append(strconv.AppendInt(b, int64(percent), 10), '%')
	eighths := int(part*cells*8 + 0.5)
	if eighths == 0 {
		return b
	}
	b = append(b, ' ')
	for ; eighths >= 8; eighths -= 8 {
		b = append(b, "█"...)
	}
	return append(b, []string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}[eighths]...)
}

// appendTrafficTitle says how much was sent and received in all, and how fast.
func appendTrafficTitle(b []byte, p *event.Page) []byte {
	sum := trafficOf(p.Sum)
	b = AppendDuration(b, p.Elapsed.Round(time.Second/10))
	b = appendSum(append(b, ": sent "...), sum.TotalTx, sum.Tx, p)
	return appendSum(append(b, ", received "...), sum.TotalRx, sum.Rx, p)
}

func appendSum(b []byte, total, n uint64, p *event.Page) []byte {
	b = AppendSize(b, total)
	if p.Closing {
		return b
	}
	b = append(b, " ("...)
	return append(appendRate0(b, n, p.Interval), "/s)"...)
}

func appendRate0(b []byte, n uint64, d time.Duration) []byte {
	if n == 0 {
		return AppendSize(b, 0)
	}
	return appendRate(b, n, d)
}
