package exchange

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

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
// row, so that all rows together are the totals. A page follows with the totals. The
// last one ends with the slowest exchanges; since JSON has no pages, the totals and
// the slowest are also told as notices for programs.
type Summary struct {
	began, last uint64 // of all, and of this interval: boot clock
	rows        map[rowName]*summaryRow
	list        []*summaryRow // all of them, as sorted last
	active      []*summaryRow // those with exchanges in this interval
	all         tally         // of all rows
	slowest     []*event.HTTP // the first is the slowest

	// What waits now, by row and in all.
	waits   []*summaryRow
	waiting uint64
	oldest  time.Duration

	maxRows  int
	other    *summaryRow // of what came when there were maxRows; nil: nothing
	toldFull bool

	method, host, path, route []byte            // scratch
	event                     event.HTTPSummary // reused
}

// SummaryInterval is how often a summary is told.
const SummaryInterval = time.Second

const (
	// maxSummaryRows bounds the rows, and with that the memory: strangers can
	// ask for as many paths as they like.
	maxSummaryRows = 10000
	otherRoute     = "(other)"
	slowestKept    = 3
	// What is longer in a row's name is cut.
	maxMethodName, maxHostName, maxRouteName = 32, 260, 1 << 10
	// Latencies are kept by 128 buckets for each power of two: what comes out
	// is less than 1 % too high.
	latencyDigits = 2
	maxLatency    = 1000 * time.Hour // what is above counts as that much
)

// rowName is what a row is about.
type rowName struct{ method, host, route string }

type summaryRow struct {
	rowName
	waits
	now, all tally // of this interval, and of all that are over
}

// waits are requests that wait for their answer.
type waits struct {
	waiting uint64
	oldest  time.Duration
}

// tally is what came of some exchanges.
type tally struct {
	count, errors uint64
	max           time.Duration
	latencies     *hdr.PackedHistogram // of the answered ones; nil: there are none
}

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
	if row.now.count == 0 {
		u.active = append(u.active, row)
	}
	row.now.add(e)
	u.keepSlowest(e)
}

func (a *tally) add(e *event.HTTP) {
	a.count++
	if e.Failed() {
		a.errors++
	}
	if e.Latency == 0 {
		return // there was no answer, or it is not known when it came
	}
	if a.latencies == nil {
		a.latencies = newLatencies()
	}
	a.max = max(a.max, e.Latency)
	// It fails for what is out of range, and this is not.
	_ = a.latencies.RecordValue(int64(min(max(e.Latency, 0), maxLatency)))
}

func newLatencies() *hdr.PackedHistogram { return hdr.NewPacked(1, int64(maxLatency), latencyDigits) }

// merge adds what another one has counted.
func (a *tally) merge(from *tally) {
	a.count += from.count
	a.errors += from.errors
	a.max = max(a.max, from.max)
	if from.latencies == nil {
		return
	}
	if a.latencies == nil {
		a.latencies = newLatencies()
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

// answered is how many latencies there are.
func (a *tally) answered() uint64 {
	if a.latencies == nil {
		return 0
	}
	return uint64(a.latencies.TotalCount())
}

// percentile is the smallest latency that at least so many percent of all do
// not exceed: the nearest rank.
func (a *tally) percentile(percent uint64) time.Duration {
	n := a.answered()
	if n == 0 {
		return 0
	}
	rank := n/100*percent + (n%100*percent+99)/100
	// The library takes percent, of which it makes a rank by rounding.
	v := a.latencies.ValueAtPercentile(float64(rank) / float64(n) * 100)
	return min(time.Duration(v), a.max)
}

// row is the row that an exchange belongs to.
func (u *Summary) row(e *event.HTTP) *summaryRow {
	u.method = limit(append(u.method[:0], e.Method...), maxMethodName)
	u.host = limit(appendLower(u.host[:0], e.Host), maxHostName)
	u.path = append(u.path[:0], e.Path...)
	switch u.route = u.route[:0]; {
	case len(u.path) == 0 && !e.PathTruncated: // it is unknown, or there is none
	case e.GRPC || e.Version == "2" && e.Method == "POST" && isRPC(u.path):
		u.route = append(u.route, u.path...)
	default:
		u.route = appendRoute(u.route, u.path, e.PathTruncated)
	}
	u.route = limit(u.route, maxRouteName)
	// In this form looking for a name does not copy it.
	if row := u.rows[rowName{string(u.method), string(u.host), string(u.route)}]; row != nil {
		return row
	}
	if len(u.rows) < u.maxRows {
		row := &summaryRow{rowName: rowName{string(u.method), string(u.host), string(u.route)}}
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

// appendRoute appends the route of a request target. One that was cut may lack
// the end of its last segment: that is left out.
func appendRoute(dst, target []byte, cut bool) []byte {
	if !cut || bytes.ContainsAny(target, "?#") {
		return Route(dst, target)
	}
	return append(Route(dst, target[:bytes.LastIndexByte(target, '/')+1]), "…"...)
}

// appendLower appends s, ASCII letters in lower case.
func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// limit cuts b to so many bytes and a mark, not within a character.
func limit(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(b[end]) {
		end--
	}
	return append(b[:end], "…"...)
}

// keepSlowest keeps a copy of e if few took longer.
func (u *Summary) keepSlowest(e *event.HTTP) {
	n := len(u.slowest)
	if n == slowestKept && took(e) <= took(u.slowest[n-1]) {
		return
	}
	c := *e
	c.Method, c.Path, c.Host = strings.Clone(e.Method), strings.Clone(e.Path), strings.Clone(e.Host)
	at := 0
	for at < n && took(u.slowest[at]) >= took(e) {
		at++
	}
	u.slowest = slices.Insert(u.slowest, at, &c)
	u.slowest = u.slowest[:min(n+1, slowestKept)]
}

// took is how long an answer, or that there is none, took to come.
func took(e *event.HTTP) time.Duration {
	if e.Latency == 0 {
		return e.Duration
	}
	return e.Latency
}

// Wait takes a request that waits for its answer, Age long: it is in the rows that the
// next Tell shows, and in no count of theirs. It does not keep e.
func (u *Summary) Wait(e *event.HTTP) {
	row := u.row(e)
	if row.waiting == 0 {
		u.waits = append(u.waits, row)
		if row.now.count == 0 {
			u.active = append(u.active, row)
		}
	}
	row.waiting++
	row.oldest = max(row.oldest, e.Age)
	u.waiting++
	u.oldest = max(u.oldest, e.Age)
}

// forgetWaits ends an interval: who still waits will be told of again.
func (u *Summary) forgetWaits() {
	for _, row := range u.waits {
		row.waits = waits{}
	}
	u.waits, u.waiting, u.oldest = u.waits[:0], 0, 0
}

// Tell shows what came since it was called last. now is of the boot clock, wall the
// same moment.
func (u *Summary) Tell(to Screen, now uint64, wall time.Time, last bool) {
	interval, elapsed := time.Duration(now-u.last), time.Duration(now-u.began)
	u.last = now
	if u.other != nil && !u.toldFull {
		u.toldFull = true
		to.Notice(&event.Notice{Kind: "warning", Message: "there are too many methods, hosts and routes: exchanges of further ones are counted together as " + otherRoute})
	}
	slices.SortFunc(u.active, func(a, b *summaryRow) int { return compareRows(a, b, a.now.count, b.now.count) })
	var sum tally
	for _, row := range u.active {
		u.fill(row.rowName, &row.now, row.waits, wall, interval)
		u.event.Rate = rate(row.now.count, interval)
		u.event.Failing = row.now.errors > 0
		to.ShowRow(&u.event, row.now.count)
		sum.count += row.now.count
		sum.errors += row.now.errors
		row.all.merge(&row.now)
		u.all.merge(&row.now)
	}
	// How fast it goes: on the last page all of the run matters.
	pace := func(now, all *tally) {
		u.event.Rate, u.event.Failing = rate(now.count, interval), now.errors > 0
		if last {
			u.event.Rate, u.event.Failing = rate(all.count, elapsed), all.errors > 0
		}
	}
	slices.SortFunc(u.list, func(a, b *summaryRow) int { return compareRows(a, b, a.all.count, b.all.count) })
	u.fill(rowName{}, &u.all, waits{u.waiting, u.oldest}, wall, elapsed)
	pace(&sum, &u.all)
	total := u.event
	page := event.Page{Interval: interval, Elapsed: elapsed, Closing: last, Total: len(u.list), Sum: &total}
	page.Rows = func(yield func(event.Event) bool) {
		for _, row := range u.list {
			u.fill(row.rowName, &row.all, row.waits, wall, elapsed)
			pace(&row.now, &row.all)
			if !yield(&u.event) {
				return
			}
		}
	}
	if last {
		for _, e := range u.slowest {
			page.Below = append(page.Below, e)
		}
	}
	to.Page(&page)
	for _, row := range u.active {
		row.now.reset()
	}
	u.active = u.active[:0]
	u.forgetWaits()
	if last {
		to.Notice(&event.Notice{Kind: "total", About: &total})
		for _, e := range page.Below {
			to.Notice(&event.Notice{Kind: "slowest", About: e})
		}
	}
}

// compareRows orders rows by their counts, the highest first.
func compareRows(a, b *summaryRow, countA, countB uint64) int {
	return cmp.Or(cmp.Compare(countB, countA), cmp.Compare(a.route, b.route), cmp.Compare(a.method, b.method), cmp.Compare(a.host, b.host))
}

// fill makes the event of what was counted under a name.
func (u *Summary) fill(name rowName, a *tally, w waits, wall time.Time, interval time.Duration) {
	u.event = event.HTTPSummary{
		Common:   event.Common{Time: wall, Kind: event.KindHTTPSummary},
		Interval: interval,
		Method:   name.method,
		Host:     name.host,
		Route:    name.route,
		Count:    a.count,
		Errors:   a.errors,
		Answered: a.answered(),
		P50:      a.percentile(50),
		P90:      a.percentile(90),
		P99:      a.percentile(99),
		Max:      a.max,
		Waiting:  w.waiting,
		Oldest:   w.oldest,
	}
}

func rate(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
