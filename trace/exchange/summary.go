package exchange

import (
	"slices"
	"time"

	"tracer/trace/event"
)

// A Screen is where the rows of a [Summary] go.
type Screen interface {
	// ShowRow shows a row that sums up n exchanges, which were counted before.
	ShowRow(e event.Event, n uint64)
	Page(p *event.Page)
	Notice(n *event.Notice)
}

// A Summary sums exchanges up in rows by method, host and route. [Summary.Tell] shows
// a row for each that had exchanges since it was called last: each exchange is in one
// row, so that all rows together are the totals. A page follows with the totals and the
// slowest exchanges; since JSON has no pages, those of the last page are also told as
// notices for programs.
type Summary struct {
	// Key is the one of SummaryKeys that rows are sorted by now; nil: the first.
	Key func() string
	// Locate fills in where an exchange that is kept happened; nil: that is not known.
	Locate func(*event.Common)

	rows    map[rowName]*summaryRow
	list    []*summaryRow // all of them; those of the page that was told last come first
	active  []*summaryRow // those with something to tell in this interval
	paced   []*summaryRow // those that had in the last one
	all     tally         // of all rows
	slowest slowest

	// What waits now, by row and in all.
	waiters []*summaryRow
	waiting waits
	old     bool // what waits was told

	began, last uint64     // of all, and of this interval: boot clock
	page        event.Page // that was told last
	wall        time.Time
	told        int // rows in it
	p50         time.Duration
	sum         event.HTTPSummary

	maxRows  int
	other    *summaryRow // of what came when there were maxRows; nil: nothing
	toldFull bool

	namer namer
	event event.HTTPSummary // reused
}

// SummaryInterval is how often a summary is told.
const SummaryInterval = time.Second

// maxSummaryRows bounds the rows, and with that the memory: strangers can
// ask for as many paths as they like.
const maxSummaryRows = 10000

// A route is slow if half of its answers took at least longMedian, or slowMedian and
// slowTimes as long as half of all answers.
const (
	longMedian = event.SlowLatency
	slowMedian = 100 * time.Millisecond
	slowTimes  = 10
)

// NewSummary begins at a time of the boot clock.
func NewSummary(now uint64) *Summary {
	return &Summary{began: now, last: now, rows: map[rowName]*summaryRow{}, maxRows: maxSummaryRows}
}

// Add counts an exchange. It does not keep e, nor does it allocate anything for
// most: those of a row and with a latency that are known.
func (u *Summary) Add(e *event.HTTP) {
	if e.Kind != event.KindHTTP {
		return // a request that still waits
	}
	row := u.row(e)
	if row.now.count == 0 && (u.old || row.waiting == 0) {
		u.active = append(u.active, row)
	}
	row.now.add(e)
	if kept := u.slowest.add(e); kept != nil && u.Locate != nil {
		u.Locate(kept.Head())
	}
}

// row is the row that an exchange belongs to.
func (u *Summary) row(e *event.HTTP) *summaryRow {
	n := &u.namer
	n.name(e)
	// In this form looking for a name does not copy it.
	if row := u.rows[rowName{string(n.method), string(n.host), string(n.route)}]; row != nil {
		return row
	}
	if len(u.rows) < u.maxRows {
		row := &summaryRow{rowName: rowName{string(n.method), string(n.host), string(n.route)}}
		u.rows[row.rowName] = row
		u.list = append(u.list, row)
		return row
	}
	if u.other == nil {
		u.other = &summaryRow{rowName: rowName{route: otherRoute}}
		u.list = append(u.list, u.other)
	}
	return u.other
}

// Wait takes a request that waits for its answer, Age long: it is in the rows that the
// next Tell shows, and in no count of theirs. It does not keep e.
func (u *Summary) Wait(e *event.HTTP) {
	u.forgetWaits()
	row := u.row(e)
	if row.waiting == 0 {
		u.waiters = append(u.waiters, row)
		if row.now.count == 0 {
			u.active = append(u.active, row)
		}
	}
	row.waits.add(e.Age)
	u.waiting.add(e.Age)
}

func (w *waits) add(age time.Duration) {
	w.waiting++
	w.oldest = max(w.oldest, age)
	w.ages += age
}

// forgetWaits forgets what was told of before: who still waits is told of again.
func (u *Summary) forgetWaits() {
	if !u.old {
		return
	}
	u.old = false
	for _, row := range u.waiters {
		row.waits = waits{}
	}
	u.waiters, u.waiting = u.waiters[:0], waits{}
}

// Tell shows what came since it was called last. now is of the boot clock, wall the
// same moment.
func (u *Summary) Tell(to Screen, now uint64, wall time.Time, last bool) {
	u.forgetWaits()
	interval, elapsed := time.Duration(now-u.last), time.Duration(now-u.began)
	u.last, u.wall = now, wall
	if u.other != nil && !u.toldFull {
		u.toldFull = true
		to.Notice(&event.Notice{Kind: "warning", Message: "there are too many methods, hosts and routes: exchanges of further ones are counted together as " + otherRoute})
	}
	sum := u.closeInterval()
	u.tellRows(to, interval)
	for _, row := range u.active {
		row.now.reset()
	}
	u.active, u.old = u.active[:0], true

	u.fill(&summaryRow{waits: u.waiting}, &u.all, elapsed)
	u.sum = u.event
	u.sum.Rate, u.sum.Failing = rate(sum.count, interval), sum.failing
	if last {
		u.sum.Rate, u.sum.Failing = rate(u.all.count, elapsed), u.all.errors > 0
	}
	u.told = len(u.list)
	u.page = event.Page{Interval: interval, Elapsed: elapsed, Closing: last, Total: u.told, Sum: &u.sum, Rows: u.pageRows, Below: u.page.Below[:0]}
	for _, e := range u.slowest {
		u.page.Below = append(u.page.Below, e)
	}
	u.show(to)
	if last {
		to.Notice(&event.Notice{Kind: "total", About: &u.sum})
		for _, e := range u.page.Below {
			to.Notice(&event.Notice{Kind: "slowest", About: e})
		}
	}
}

// Reorder shows the page that was told last once more: sorted by another Key.
func (u *Summary) Reorder(to Screen) {
	if u.told > 0 {
		u.show(to)
	}
}

// closeInterval takes what this interval has counted into what all have, and returns how
// much that was.
func (u *Summary) closeInterval() (sum pace) {
	for _, row := range u.paced {
		row.pace = pace{}
	}
	u.paced = append(u.paced[:0], u.active...)
	for _, row := range u.active {
		row.close()
		sum.count += row.pace.count
		sum.failing = sum.failing || row.pace.failing
		u.all.merge(&row.now)
	}
	u.p50 = u.all.client.percentile(50)
	for _, row := range u.active {
		row.slow = u.slow(row.now.client.percentile(50))
	}
	return sum
}

// slow says so of a median.
func (u *Summary) slow(p50 time.Duration) bool {
	return p50 >= longMedian || p50 >= slowMedian && p50/slowTimes >= u.p50
}

// tellRows shows what came of this interval, as rows of their own.
func (u *Summary) tellRows(to Screen, interval time.Duration) {
	key := u.key()
	for _, row := range u.active {
		row.rankNow(key)
	}
	slices.SortFunc(u.active, compareRows)
	for _, row := range u.active {
		u.fill(row, &row.now, interval)
		u.event.Rate, u.event.Failing, u.event.Slow = rate(row.pace.count, interval), row.failing, row.slow
		to.ShowRow(&u.event, row.pace.count)
	}
}

func (u *Summary) key() string {
	if u.Key == nil {
		return SummaryKeys[0]
	}
	return u.Key()
}

// show shows the page that was told last. Rows that are newer are not in it.
func (u *Summary) show(to Screen) {
	key, list := u.key(), u.list[:u.told]
	for _, row := range list {
		row.rankAll(key, u.page.Closing)
	}
	slices.SortFunc(list, compareRows)
	to.Page(&u.page)
}

func (u *Summary) pageRows(yield func(event.Event) bool) {
	p := &u.page
	for _, row := range u.list[:u.told] {
		u.fill(row, &row.all, p.Elapsed)
		u.event.Rate, u.event.Failing = rate(row.pace.count, p.Interval), row.failing
		if p.Closing {
			u.event.Rate, u.event.Failing = rate(row.all.count, p.Elapsed), row.all.errors > 0
		}
		u.event.Slow = u.slow(u.event.P50) || row.slow && !p.Closing
		if !yield(&u.event) {
			return
		}
	}
}

// fill makes the event of what was counted in a row.
func (u *Summary) fill(row *summaryRow, a *tally, interval time.Duration) {
	u.event = event.HTTPSummary{
		Common:         event.Common{Time: u.wall, Kind: event.KindHTTPSummary},
		Interval:       interval,
		Method:         row.method,
		Host:           row.host,
		Route:          row.route,
		Count:          a.count,
		Errors:         a.errors,
		Status4xx:      a.status4xx,
		Status5xx:      a.status5xx,
		Unanswered:     a.unanswered,
		Answered:       a.client.count(),
		P50:            a.client.percentile(50),
		P90:            a.client.percentile(90),
		P99:            a.client.percentile(99),
		Max:            a.client.max,
		Total:          a.total,
		ServerAnswered: a.server.count(),
		ServerP50:      a.server.percentile(50),
		ServerP99:      a.server.percentile(99),
		Waiting:        row.waiting,
		Oldest:         row.oldest,
		Both:           a.both > 0,
		Spent:          a.total + row.ages,
		Last:           a.last,
		Spread:         a.spread,
		Where:          a.where,
	}
}

func rate(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
