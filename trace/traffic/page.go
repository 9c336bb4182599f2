package traffic

import (
	"iter"
	"slices"
	"time"

	"tracer/trace/event"
	"tracer/trace/session"
)

// tell shows what was moved since it was called last.
func (t *tracer) tell(now uint64, final bool) {
	for id, st := range t.toLookAt(final) {
		t.distribute(id, st, final || st.record.Last != 0)
		switch {
		case st.record.Last != 0:
			t.forgetSocket(id, st)
		case st.left(false) == moved{}:
			delete(t.active, id)
		}
	}
	for key, r := range t.refused {
		if shown := t.rows[key]; shown == nil || shown.Tx+shown.Rx == 0 {
			t.host.Refuse(r, 1) // a row, whatever it sums up
		}
		delete(t.refused, key)
	}
	t.tellRows(now, final)
}

// tellRows shows what rows have moved since it was called last.
func (t *tracer) tellRows(now uint64, final bool) {
	if t.order != nil {
		t.sortBy = t.order.Key()
	}
	interval := time.Duration(now - t.last)
	t.last = now
	rows := make([]*row, 0, len(t.rows))
	var sum, all moved
	var weight, allWeight uint64
	for _, row := range t.rows {
		rows = append(rows, row)
		sum.tx += row.Tx
		sum.rx += row.Rx
		all.tx += row.TotalTx
		all.rx += row.TotalRx
		weight += t.weight(moved{row.Tx, row.Rx}, row.doubled)
		allWeight += t.weight(moved{row.TotalTx, row.TotalRx}, row.allDoubled)
	}
	slices.SortFunc(rows, func(a, b *row) int { return t.compare(a, b, false) })
	wall := t.host.Clock.Wall(now)
	for i, row := range rows {
		row.Time, row.Interval = wall, interval
		row.allTCP, row.allUDP = row.allTCP || row.tcp, row.allUDP || row.udp
		row.Proto = proto(row.tcp, row.udp)
		row.Part = part(t.weight(moved{row.Tx, row.Rx}, row.doubled), weight)
		switch {
		case row.Tx+row.Rx == 0:
		case t.top > 0 && uint64(i) >= t.top:
			t.host.Refuse(session.Refusal{Filter: "top"}, 1)
		default:
			t.host.Show(&row.Traffic)
		}
	}
	page := event.Page{Interval: interval, Elapsed: time.Duration(now - t.began), Total: len(rows) + t.folded.rows}
	page.Sum = &event.Traffic{
		Common: event.Common{Time: wall, Kind: event.KindTraffic}, Interval: interval,
		Tx: sum.tx, Rx: sum.rx, TotalTx: all.tx + t.folded.tx, TotalRx: all.rx + t.folded.rx,
	}
	if !final {
		page.Rows = t.shownRows(rows)
		t.host.Page(&page)
	}
	for _, row := range rows {
		row.Proto = proto(row.allTCP, row.allUDP)
		row.Part = part(t.weight(moved{row.TotalTx, row.TotalRx}, row.allDoubled), allWeight)
		row.Tx, row.Rx, row.tcp, row.udp, row.doubled, row.Recorded = 0, 0, false, false, 0, ""
	}
	if final {
		slices.SortFunc(rows, func(a, b *row) int { return t.compare(a, b, true) })
		page.Closing = true
		page.Rows = t.shownRows(rows)
		t.host.Page(&page)
	}
	t.foldRows(rows)
}

func proto(tcp, udp bool) string {
	switch {
	case tcp && !udp:
		return event.ProtoTCP
	case udp && !tcp:
		return event.ProtoUDP
	}
	return ""
}

// shownRows are the rows of a page.
func (t *tracer) shownRows(rows []*row) iter.Seq[event.Event] {
	if t.top > 0 {
		rows = rows[:min(t.top, uint64(len(rows)))]
	}
	return func(yield func(event.Event) bool) {
		for _, row := range rows {
			if !yield(&row.Traffic) {
				return
			}
		}
	}
}
