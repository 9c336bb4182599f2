package exec

import (
	"cmp"
	"slices"
	"time"

	"tracer/trace/event"
)

// screen is where the rows of a summary go.
type screen interface {
	// ShowRow shows a row that sums up n events, which were counted before.
	ShowRow(e event.Event, n uint64)
	Page(p *event.Page)
	Notice(n *event.Notice)
}

const (
	// summaryInterval is how often a summary is told.
	summaryInterval = time.Second
	// maxSummaryRows bounds the rows, and with that the memory.
	maxSummaryRows = 10000
	otherPrograms  = "(other)"
)

// A summary sums programs up in rows by program and parent. tell shows a row for each
// of which there is something new since it was called last: all rows together are the
// totals. It knows only events: what starts, fails to start and ends.
//
// count is of programs that started, failed and killed of programs that ended. A
// process that started no program while it was watched (it is older, or was only
// forked) counts if a signal ended it, and its time does not: it is not known what of
// it belongs to the run.
type summary struct {
	began, last uint64 // of all, and of this interval: boot clock
	rows        map[programName]*summaryRow
	list        []*summaryRow // all of them, as sorted last
	active      []*summaryRow // those with something new in this interval
	all         programTally
	running     map[process]running
	host        int // of a recording: that events are of

	maxRows    int
	maxRunning int
	other      *summaryRow // of what came when there were maxRows; nil: nothing
	full       string      // what there are too many of, as a sentence; empty: nothing
	toldFull   bool

	key  func() string // of summaryKeys: what rows are sorted by; nil: the first
	page event.Page    // as told last, for reorder
	sum  event.ExecSummary

	event event.ExecSummary // reused
}

// summaryKeys are what rows can be sorted by, the first where nothing was said.
var summaryKeys = []string{"total", "count", "rate", "errors", "max"}

// programName is what a row is about.
type programName struct{ exe, parent string }

type summaryRow struct {
	programName
	now, all programTally // of this interval, and of the whole run
	pace     pace
}

// A pace is how fast programs of a row come now: on the last page, of the whole run.
type pace struct {
	rate    float64
	failing bool
}

// A process is one of a host.
type process struct {
	host int
	pid  uint32
}

// running is a program that runs.
type running struct {
	row   *summaryRow
	comm  string    // of the process when it started
	since time.Time // when it started
	first bool      // the process ran none before
}

// programTally is what came of some programs.
type programTally struct {
	events                            uint64 // that are summed up
	count, failed, killed, execFailed uint64
	total, max                        time.Duration
}

func (a *programTally) ended(d time.Duration) {
	a.total += d
	a.max = max(a.max, d)
}

func (a *programTally) merge(b *programTally) {
	a.events += b.events
	a.count += b.count
	a.failed += b.failed
	a.killed += b.killed
	a.execFailed += b.execFailed
	a.total += b.total
	a.max = max(a.max, b.max)
}

func (a *programTally) failures() uint64 { return a.failed + a.killed + a.execFailed }

// newSummary begins at a time of the boot clock.
func newSummary(now uint64) *summary {
	return &summary{
		began: now, last: now,
		rows: map[programName]*summaryRow{}, maxRows: maxSummaryRows,
		running: map[process]running{}, maxRunning: maxProcesses,
	}
}

// add counts an event. It does not keep e.
func (u *summary) add(e event.Event) {
	switch e := e.(type) {
	case *event.Exec:
		u.started(e)
	case *event.Exit:
		u.ended(e)
	case *event.ExecFailed:
		u.row(e.Exe, e.ParentComm).now.execFailed++
	}
}

func (u *summary) started(e *event.Exec) {
	row := u.row(e.Exe, e.ParentComm)
	row.now.count++
	before, replaced := u.running[process{u.host, e.PID}]
	if replaced { // by the new one, in the same process
		u.touch(before.row)
		before.row.now.ended(before.took(e.Time, 0))
	} else if len(u.running) >= u.maxRunning {
		u.full = "there are too many processes: the time and the end of some are not counted"
		return
	}
	u.running[process{u.host, e.PID}] = running{row, e.Comm, e.Time, !replaced}
}

func (u *summary) ended(e *event.Exit) {
	r, known := u.running[process{u.host, e.PID}]
	delete(u.running, process{u.host, e.PID})
	var row *summaryRow
	switch {
	case known && (e.Exe == "" || e.Exe == r.row.exe || r.row == u.other):
		row = r.row
		u.touch(row)
	case known: // it failed to load another one, and could not go back
		row = u.row(e.Exe, r.row.parent)
	case e.Signal != "":
		row = u.row(e.Exe, u.running[process{u.host, e.PPID}].comm)
	default:
		return
	}
	if known {
		row.now.ended(r.took(e.Time, e.Duration))
	}
	switch {
	case e.Signal != "":
		row.now.killed++
	case e.Code != 0:
		row.now.failed++
	}
}

// took is how long a program ran until a moment at which its process had run for so
// long; 0: that is not known.
func (r *running) took(until time.Time, process time.Duration) time.Duration {
	if r.first && process > 0 {
		return process
	}
	return max(until.Sub(r.since), 0)
}

// row is the row of an event, which is noted as new.
func (u *summary) row(exe, parent string) *summaryRow {
	row := u.rows[programName{exe, parent}]
	switch {
	case row != nil:
	case len(u.rows) < u.maxRows:
		row = &summaryRow{programName: programName{exe, parent}}
		u.rows[row.programName] = row
		u.list = append(u.list, row)
	default:
		u.full = "there are too many programs and parents: further ones are counted together as " + otherPrograms
		if u.other == nil {
			u.other = &summaryRow{programName: programName{exe: otherPrograms}}
			u.list = append(u.list, u.other)
		}
		row = u.other
	}
	u.touch(row)
	return row
}

// touch notes that there is one more event of a row.
func (u *summary) touch(row *summaryRow) {
	if row.now.events == 0 {
		u.active = append(u.active, row)
	}
	row.now.events++
}

// tell shows what came since it was called last. now is of the boot clock, wall the
// same moment.
func (u *summary) tell(to screen, now uint64, wall time.Time, last bool) {
	interval, elapsed := time.Duration(now-u.last), time.Duration(now-u.began)
	u.last = now
	if u.full != "" && !u.toldFull {
		u.toldFull = true
		to.Notice(&event.Notice{Kind: event.KindWarning, Message: u.full})
	}
	key := summaryKeys[0]
	if u.key != nil {
		key = u.key()
	}
	slices.SortFunc(u.active, func(a, b *summaryRow) int { return compareRows(key, a, b, &a.now, &b.now) })
	var sum programTally
	for _, row := range u.active {
		u.fill(row.programName, &row.now, wall, interval, paceOf(&row.now, interval))
		to.ShowRow(&u.event, row.now.events)
		sum.merge(&row.now)
		row.all.merge(&row.now)
	}
	u.all.merge(&sum)
	for _, row := range u.list {
		row.pace = paceOf(&row.now, interval)
		if last {
			row.pace = paceOf(&row.all, elapsed)
		}
		row.now = programTally{}
	}
	u.active = u.active[:0]
	all := paceOf(&sum, interval)
	if last {
		all = paceOf(&u.all, elapsed)
	}
	u.fill(programName{}, &u.all, wall, elapsed, all)
	u.sum = u.event
	u.page = event.Page{
		Interval: interval, Elapsed: elapsed, Closing: last, Total: len(u.list), Sum: &u.sum,
		Rows: func(yield func(event.Event) bool) {
			for _, row := range u.list {
				u.fill(row.programName, &row.all, wall, elapsed, row.pace)
				if !yield(&u.event) {
					return
				}
			}
		},
	}
	u.show(to, key)
	if last {
		to.Notice(&event.Notice{Kind: "total", About: &u.sum})
	}
}

func (u *summary) show(to screen, key string) {
	slices.SortFunc(u.list, func(a, b *summaryRow) int { return compareRows(key, a, b, &a.all, &b.all) })
	to.Page(&u.page)
}

// reorder shows the page that was told last once more: sorted by another key.
func (u *summary) reorder(to screen) {
	if u.page.Rows != nil {
		u.show(to, u.key())
	}
}

// by compares by a key, the most first.
func by(key string, a, b *summaryRow, ofA, ofB *programTally) int {
	switch key {
	case "count":
		return cmp.Compare(ofB.count, ofA.count)
	case "rate":
		return cmp.Compare(b.pace.rate, a.pace.rate)
	case "errors":
		return cmp.Compare(ofB.failures(), ofA.failures())
	case "max":
		return cmp.Compare(ofB.max, ofA.max)
	}
	return cmp.Compare(ofB.total, ofA.total)
}

// compareRows orders rows: by a key, then by the time in all and how many there were.
func compareRows(key string, a, b *summaryRow, ofA, ofB *programTally) int {
	return cmp.Or(
		by(key, a, b, ofA, ofB),
		cmp.Compare(ofB.total, ofA.total),
		cmp.Compare(ofB.count, ofA.count),
		cmp.Compare(ofB.failures(), ofA.failures()),
		cmp.Compare(a.exe, b.exe),
		cmp.Compare(a.parent, b.parent))
}

// fill makes the event of what was counted under a name.
func (u *summary) fill(name programName, a *programTally, wall time.Time, interval time.Duration, p pace) {
	u.event = event.ExecSummary{
		Common:     event.Common{Time: wall, Kind: event.KindExecSummary},
		Interval:   interval,
		Exe:        name.exe,
		ParentComm: name.parent,
		Count:      a.count,
		Failed:     a.failed,
		Killed:     a.killed,
		ExecFailed: a.execFailed,
		Total:      a.total,
		Max:        a.max,
		Rate:       p.rate,
		Failing:    p.failing,
	}
}

func paceOf(a *programTally, d time.Duration) (p pace) {
	if d > 0 {
		p.rate = float64(a.count) / d.Seconds()
	}
	p.failing = a.failures() > 0
	return p
}
