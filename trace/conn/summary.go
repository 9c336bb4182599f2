package conn

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"tracer/trace/event"
	"tracer/trace/session"
)

const (
	// summaryInterval is how often a summary is told.
	summaryInterval = time.Second
	// maxSummaryRows bounds the rows, and maxSummaryConns the connections that are known
	// to be open: with those the memory.
	maxSummaryRows  = 10000
	maxSummaryConns = 1 << 18
	otherResult     = "(other)"
	// Latencies are kept by 128 buckets for each power of two: what comes out is less
	// than 1 % too high.
	latencyDigits = 2
	maxLatency    = 1000 * time.Hour // what is above counts as that much
)

// A summary sums connections up in rows by process, destination and result. A row is told
// once an interval in which something has happened to its connections; a page follows.
type summary struct {
	began, last uint64 // of all, and of this interval: boot clock
	interval    uint64 // its number
	rows        map[rowName]*summaryRow
	list        []*summaryRow // all of them, as sorted last
	active      []*summaryRow // those of this interval
	conns       map[wait]counted
	total       uint64 // connections, of the intervals that are over
	other       *summaryRow
	toldFull    bool
	key         func() string // of summaryKeys: what rows are sorted by; nil: the first
	page        event.Page    // as told last, for reorder
	sum         event.ConnSummary
	event       event.ConnSummary // reused
}

// summaryKeys are what rows can be sorted by, the first where nothing was said.
var summaryKeys = []string{"count", "rate", "errors", "p50", "max", "last"}

// rowName is what a row is about.
type rowName struct {
	host   string // of several in a recording
	pid    uint32
	comm   string
	role   string
	dst    netip.AddrPort // of a server the port alone
	result string
}

type summaryRow struct {
	rowName
	process     event.Process
	first, last time.Time
	now, all    tally   // of this interval, and of those that are over
	active      bool    // is in summary.active
	pace        float64 // connections a second: in this interval; on the last page, of the run
}

// failed reports whether it is of connections that could not be opened, or were reset.
func (r *rowName) failed() bool {
	return r.result != event.ResultConnected && r.result != event.ResultAccepted && r.result != event.ResultNotAccepted
}

// tally is what came of some connections.
type tally struct {
	events    uint64 // that told it
	count     uint64
	tx, rx    uint64
	max       time.Duration
	latencies *hdr.PackedHistogram // nil: there are none
	turns     *turns               // nil: there are none
}

// wait tells one attempt to connect, or accept, from the others of its socket.
type wait struct {
	socket, start uint64
}

// counted is where an open connection counts.
type counted struct {
	row      *summaryRow
	latency  time.Duration
	interval uint64
	turns    *turns // of it, as told last; they are in the row
}

// newSummary begins at a time of the boot clock.
func newSummary(now uint64) *summary {
	return &summary{began: now, last: now, rows: map[rowName]*summaryRow{}, conns: map[wait]counted{}}
}

// add takes an event of a connection, which key tells from others. It does not keep e.
func (s *summary) add(e event.Event, key wait) {
	switch e := e.(type) {
	case *event.Connect:
		s.count(&e.Common, &e.Connection, key, event.ResultConnected, e.Latency, true)
	case *event.ConnectFailed:
		s.count(&e.Common, &e.Connection, key, e.Error, e.Latency, false)
	case *event.ConnectStuck:
		s.count(&e.Common, &e.Connection, key, event.ResultNoAnswer, 0, true)
	case *event.Accept:
		queued := wait{socket: key.socket}
		if c, ok := s.conns[queued]; ok { // it was open before
			delete(s.conns, queued)
			s.conns[key] = c
		}
		s.count(&e.Common, &e.Connection, key, event.ResultAccepted, 0, true)
	case *event.Open:
		result := opened(e.Role)
		if !e.Accepted {
			result = event.ResultNotAccepted
		}
		s.count(&e.Common, &e.Connection, key, result, 0, true)
	case *event.Close:
		s.closed(e, key, nil)
	}
}

// closed is add for the end of a connection, with its turns; nil: as many as the event
// says, of which no more is known.
func (s *summary) closed(e *event.Close, key wait, t *turns) {
	before := s.conns[key].turns
	row := s.count(&e.Common, &e.Connection, key, closedAs(e), 0, false)
	row.now.tx += e.Tx
	row.now.rx += e.Rx
	if t == nil && e.Turns > 0 {
		t = &turns{count: int64(e.Turns), max: e.TurnMax}
	}
	if t != nil {
		row.now.addTurns(t, before)
	}
}

// opened is the result of a connection that was opened, and nothing more.
func opened(role string) string {
	if role == event.RoleServer {
		return event.ResultAccepted
	}
	return event.ResultConnected
}

// closedAs is the result of a connection that has ended.
func closedAs(e *event.Close) string {
	switch e.Reason {
	case event.ReasonReset:
		return event.ResultReset
	case event.ReasonTimeout:
		return "ETIMEDOUT"
	}
	return opened(e.Role)
}

// count counts a connection under a result, and no longer under the one before. Its
// handshake stays a measure of that, too.
func (s *summary) count(head *event.Common, c *event.Connection, key wait, result string, latency time.Duration, open bool) *summaryRow {
	row := s.row(head, c, result)
	s.isActive(row)
	row.now.events++
	if row.first.IsZero() || head.Time.Before(row.first) {
		row.first = head.Time
	}
	if head.Time.After(row.last) {
		row.last = head.Time
	}
	before, known := s.conns[key]
	if known && before.row != row {
		latency = cmp.Or(latency, before.latency)
		s.uncount(before)
		if before.turns != nil {
			before.row.all.takeTurns(before.turns)
			row.now.addTurns(before.turns, nil)
		}
	}
	if !known || before.row != row {
		row.now.add(latency)
	} else {
		latency = before.latency
	}
	if !open {
		delete(s.conns, key)
		return row
	}
	if len(s.conns) >= maxSummaryConns {
		clear(s.conns) // their ends were lost: nothing else leads here
	}
	interval := s.interval
	if known && before.row == row {
		interval = before.interval
	}
	s.conns[key] = counted{row, latency, interval, before.turns}
	return row
}

// forget forgets a connection that was established, if there is one of that name: its end
// was lost, and another one has it now.
func (s *summary) forget(key wait) {
	if c, ok := s.conns[key]; ok && (c.row.result == event.ResultConnected || c.row.result == event.ResultAccepted) {
		delete(s.conns, key)
	}
}

// isActive notes that something has happened to connections of a row in this interval.
func (s *summary) isActive(row *summaryRow) {
	if !row.active {
		row.active = true
		s.active = append(s.active, row)
	}
}

// uncount takes a connection out of the row that it was counted in.
func (s *summary) uncount(c counted) {
	if c.interval == s.interval {
		c.row.now.count--
		return
	}
	c.row.all.count--
	s.total--
}

func (a *tally) add(latency time.Duration) {
	a.count++
	if latency <= 0 {
		return
	}
	if a.latencies == nil {
		a.latencies = hdr.NewPacked(1, int64(maxLatency), latencyDigits)
	}
	a.max = max(a.max, latency)
	// It fails for what is out of range, and this is not.
	_ = a.latencies.RecordValue(int64(min(latency, maxLatency)))
}

// merge adds what another one has counted.
func (a *tally) merge(from *tally) {
	a.events += from.events
	a.count += from.count
	a.tx += from.tx
	a.rx += from.rx
	a.max = max(a.max, from.max)
	if from.turns != nil {
		a.addTurns(from.turns, nil)
	}
	if from.latencies == nil {
		return
	}
	if a.latencies == nil {
		a.latencies = hdr.NewPacked(1, int64(maxLatency), latencyDigits)
	}
	a.latencies.Merge(from.latencies) // drops nothing: both have the same range
}

// reset forgets everything but the memory that it takes.
func (a *tally) reset() {
	if a.latencies != nil {
		a.latencies.Reset()
	}
	*a = tally{latencies: a.latencies}
}

// addTurns counts what there is more than before.
func (a *tally) addTurns(t, before *turns) {
	if a.turns == nil {
		a.turns = &turns{}
	}
	a.turns.add(t, before, 1)
}

// takeTurns takes away what addTurns has counted.
func (a *tally) takeTurns(t *turns) {
	if a.turns == nil {
		a.turns = &turns{}
	}
	a.turns.add(t, nil, -1)
}

// turns are those of a connection so far. One that is not known is counted at its end.
func (s *summary) turns(key wait, t *turns) {
	c, ok := s.conns[key]
	if !ok {
		return
	}
	c.row.now.addTurns(t, c.turns)
	c.turns = t
	s.conns[key] = c
	s.isActive(c.row)
}

// row is the row that a connection belongs to.
func (s *summary) row(head *event.Common, c *event.Connection, result string) *summaryRow {
	name := rowName{head.Hostname, head.PID, head.Comm, c.Role, c.Dst, result}
	if c.Role == event.RoleServer {
		name.dst = netip.AddrPortFrom(netip.Addr{}, c.Dst.Port())
	}
	if row := s.rows[name]; row != nil {
		return row
	}
	if len(s.rows) < maxSummaryRows {
		row := &summaryRow{rowName: name, process: head.Process}
		s.rows[name] = row
		s.list = append(s.list, row)
		return row
	}
	if s.other == nil {
		s.other = &summaryRow{rowName: rowName{result: otherResult}}
		s.list = append(s.list, s.other)
	}
	return s.other
}

// tell shows what came since it was called last. now is of the boot clock, wall the same
// moment.
func (s *summary) tell(to *session.Host, now uint64, wall time.Time, last bool) {
	interval, elapsed := time.Duration(now-s.last), time.Duration(now-s.began)
	s.last = now
	s.interval++
	if s.other != nil && !s.toldFull {
		s.toldFull = true
		to.Notice(&event.Notice{Kind: "warning", Message: "there are too many processes and destinations: connections of further ones are counted together as " + otherResult})
	}
	key := s.sortKey()
	slices.SortFunc(s.active, func(a, b *summaryRow) int { return compareRows(key, a, b, &a.now, &b.now) })
	count := uint64(0)
	for _, row := range s.active {
		s.fill(row, &row.now, wall, interval)
		to.ShowRow(&s.event, row.now.events)
		count += row.now.count
		row.all.merge(&row.now)
	}
	s.total += count
	rows := 0
	for _, row := range s.list {
		row.pace = rate(row.now.count, interval)
		if last {
			row.pace = rate(row.all.count, elapsed)
		}
		if row.all.count > 0 { // else all of its connections are in other rows by now
			rows++
		}
	}
	s.sum = event.ConnSummary{Common: event.Common{Time: wall, Kind: event.KindConnSummary}, Interval: elapsed, Count: s.total, Rate: rate(count, interval)}
	if last {
		s.sum.Rate = rate(s.total, elapsed)
	}
	s.page = event.Page{Interval: interval, Elapsed: elapsed, Closing: last, Total: rows, Sum: &s.sum,
		Rows: func(yield func(event.Event) bool) {
			for _, row := range s.list {
				if row.all.count == 0 {
					continue
				}
				s.fill(row, &row.all, wall, elapsed)
				s.event.Rate = row.pace
				if !yield(&s.event) {
					return
				}
			}
		}}
	s.show(to, key)
	for _, row := range s.active {
		row.now.reset()
		row.active = false
	}
	s.active = s.active[:0]
}

func (s *summary) show(to *session.Host, key string) {
	slices.SortFunc(s.list, func(a, b *summaryRow) int { return compareRows(key, a, b, &a.all, &b.all) })
	to.Page(&s.page)
}

// reorder shows the page that was told last once more: sorted by another key.
func (s *summary) reorder(to *session.Host) {
	if s.page.Rows != nil {
		s.show(to, s.sortKey())
	}
}

func (s *summary) sortKey() string {
	if s.key == nil {
		return summaryKeys[0]
	}
	return s.key()
}

// by compares by a key, the most first.
func by(key string, a, b *summaryRow, ofA, ofB *tally) int {
	switch key {
	case "rate":
		return cmp.Compare(b.pace, a.pace)
	case "errors":
		failures := func(row *summaryRow, of *tally) uint64 {
			if row.failed() {
				return of.count
			}
			return 0
		}
		return cmp.Compare(failures(b, ofB), failures(a, ofA))
	case "p50":
		return cmp.Compare(ofB.median(), ofA.median())
	case "max":
		return cmp.Compare(ofB.max, ofA.max)
	case "last":
		return b.last.Compare(a.last)
	}
	return cmp.Compare(ofB.count, ofA.count)
}

// median is that of the handshakes, 0 if there is none.
func (a *tally) median() time.Duration {
	if a.latencies == nil || a.latencies.TotalCount() == 0 {
		return 0
	}
	return min(time.Duration(a.latencies.ValueAtPercentile(50)), a.max)
}

// compareRows orders rows by a key, then by their counts, the highest first.
func compareRows(key string, a, b *summaryRow, ofA, ofB *tally) int {
	return cmp.Or(by(key, a, b, ofA, ofB), cmp.Compare(ofB.count, ofA.count), cmp.Compare(a.result, b.result), cmp.Compare(a.comm, b.comm), cmp.Compare(a.host, b.host), cmp.Compare(a.pid, b.pid),
		a.dst.Compare(b.dst), cmp.Compare(a.role, b.role))
}

// fill makes the event of what was counted in a row.
func (s *summary) fill(row *summaryRow, a *tally, wall time.Time, interval time.Duration) {
	s.event = event.ConnSummary{
		Common:   event.Common{Time: wall, Kind: event.KindConnSummary, Process: row.process, Hostname: row.host},
		Interval: interval,
		Role:     row.role,
		Dst:      row.dst,
		Result:   row.result,
		Count:    a.count,
		Max:      a.max,
		Tx:       a.tx,
		Rx:       a.rx,
		First:    row.first,
		Last:     row.last,
		Rate:     rate(a.count, interval),
	}
	if t := a.turns; t != nil && t.count > 0 {
		s.event.Turns, s.event.TurnMax = uint64(t.count), t.max
		s.event.TurnP50, s.event.TurnP99 = t.quantile(50), t.quantile(99)
	}
	if a.latencies != nil {
		s.event.Answered = uint64(a.latencies.TotalCount())
		s.event.P50 = a.median()
	}
}

func rate(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
