package exec

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/session"
)

// told keeps what a summary shows.
type told struct {
	rows    []event.ExecSummary
	events  uint64
	closing []event.ExecSummary
	sum     event.ExecSummary
	notices []string
}

func (t *told) ShowRow(e event.Event, n uint64) {
	t.rows = append(t.rows, *e.(*event.ExecSummary))
	t.events += n
}

func (t *told) Page(p *event.Page) {
	t.closing, t.sum = nil, *p.Sum.(*event.ExecSummary)
	for e := range p.Rows {
		t.closing = append(t.closing, *e.(*event.ExecSummary))
	}
}

func (t *told) Notice(n *event.Notice) { t.notices = append(t.notices, n.Kind+" "+n.Message) }

func at(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }

func started(ms int, pid, ppid uint32, exe, parent string) *event.Exec {
	return &event.Exec{Common: event.Common{Time: at(ms), Kind: event.KindExec, Process: event.Process{PID: pid, Comm: "c" + exe}}, Program: event.Program{Exe: exe}, PPID: ppid, ParentComm: parent}
}

func ended(ms int, pid, ppid uint32, exe string, took int, code int, signal string) *event.Exit {
	return &event.Exit{Common: event.Common{Time: at(ms), Kind: event.KindExit, Process: event.Process{PID: pid}}, Program: event.Program{Exe: exe}, PPID: ppid, Duration: time.Duration(took) * time.Millisecond, Code: code, Signal: signal}
}

func failed(ms int, pid uint32, exe, parent string) *event.ExecFailed {
	return &event.ExecFailed{Common: event.Common{Time: at(ms), Kind: event.KindExecFailed, Process: event.Process{PID: pid}}, Program: event.Program{Exe: exe}, ParentComm: parent, Error: "ENOENT"}
}

func TestSummaryOfPrograms(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		events []event.Event
		want   []event.ExecSummary // in the order of rows: exe, parent and numbers
	}{
		"programs of two parents are two rows, the one that took longer first": {
			[]event.Event{started(0, 1, 9, "/a", "x"), started(0, 2, 8, "/a", "y"), ended(5, 1, 9, "/a", 6, 0, ""), ended(9, 2, 8, "/a", 10, 0, ""), started(9, 3, 9, "/a", "x"), ended(10, 3, 9, "/a", 2, 0, "")},
			[]event.ExecSummary{{Exe: "/a", ParentComm: "y", Count: 1, Total: 10 * ms, Max: 10 * ms}, {Exe: "/a", ParentComm: "x", Count: 2, Total: 8 * ms, Max: 6 * ms}}},
		"failed, killed and not started are counted apart": {
			[]event.Event{started(0, 1, 9, "/a", "x"), ended(1, 1, 9, "/a", 1, 3, ""), started(1, 2, 9, "/a", "x"), ended(2, 2, 9, "/a", 1, 0, "SIGKILL"), failed(3, 4, "/a", "x"), failed(4, 4, "/a", "x")},
			[]event.ExecSummary{{Exe: "/a", ParentComm: "x", Count: 2, Failed: 1, Killed: 1, ExecFailed: 2, Total: 2 * ms, Max: ms}}},
		"a program that another one replaced ran until then": {
			[]event.Event{started(1, 1, 9, "/sh", "x"), started(4, 1, 9, "/a", "x"), ended(11, 1, 9, "/a", 12, 1, "")},
			[]event.ExecSummary{{Exe: "/a", ParentComm: "x", Count: 1, Failed: 1, Total: 7 * ms, Max: 7 * ms}, {Exe: "/sh", ParentComm: "x", Count: 1, Total: 3 * ms, Max: 3 * ms}}},
		"one that goes on counts, and its time does not yet": {
			[]event.Event{started(1, 1, 9, "/a", "x")},
			[]event.ExecSummary{{Exe: "/a", ParentComm: "x", Count: 1}}},
		"what was only forked is no program": {
			[]event.Event{started(1, 1, 9, "/a", "x"), ended(3, 2, 1, "/a", 1, 1, "")},
			[]event.ExecSummary{{Exe: "/a", ParentComm: "x", Count: 1}}},
		"unless a signal ended it": {
			[]event.Event{started(1, 1, 9, "/a", "x"), ended(3, 2, 1, "/a", 1, 0, "SIGSEGV")},
			[]event.ExecSummary{{Exe: "/a", ParentComm: "x", Count: 1}, {Exe: "/a", ParentComm: "c/a", Killed: 1}}},
		"of an older one that a signal ended the time does not count": {
			[]event.Event{ended(3, 2, 1, "/old", 86400000, 0, "SIGKILL"), ended(3, 3, 1, "/old", 86400000, 0, "")},
			[]event.ExecSummary{{Exe: "/old", Killed: 1}}},
		"a file that is broken has its end": {
			[]event.Event{started(1, 1, 9, "/sh", "x"), failed(3, 1, "./broken", "x"), ended(4, 1, 9, "/broken", 3, 0, "SIGSEGV")},
			[]event.ExecSummary{{Exe: "/broken", ParentComm: "x", Killed: 1, Total: 3 * ms, Max: 3 * ms}, {Exe: "/sh", ParentComm: "x", Count: 1}, {Exe: "./broken", ParentComm: "x", ExecFailed: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			u, to := newSummary(0), &told{}
			for _, e := range c.events {
				u.add(e)
			}
			u.tell(to, uint64(time.Second), at(1000), true)
			if diff := cmp.Diff(c.want, plain(to.rows)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.want, plain(to.closing)); diff != "" {
				t.Errorf("closing: %s", diff)
			}
			if diff := cmp.Diff([]event.ExecSummary{sumOf(c.want)}, plain([]event.ExecSummary{to.sum})); diff != "" {
				t.Errorf("sum: %s", diff)
			}
		})
	}
}

// plain are rows without what all have.
func plain(rows []event.ExecSummary) (list []event.ExecSummary) {
	for _, r := range rows {
		list = append(list, event.ExecSummary{Exe: r.Exe, ParentComm: r.ParentComm, Count: r.Count, Failed: r.Failed, Killed: r.Killed, ExecFailed: r.ExecFailed, Total: r.Total, Max: r.Max})
	}
	return list
}

func sumOf(rows []event.ExecSummary) (sum event.ExecSummary) {
	for _, r := range rows {
		sum.Count += r.Count
		sum.Failed += r.Failed
		sum.Killed += r.Killed
		sum.ExecFailed += r.ExecFailed
		sum.Total += r.Total
		sum.Max = max(sum.Max, r.Max)
	}
	return sum
}

// Each row of an interval tells what is new in it; the closing page tells of all.
func TestSummaryOfProgramsByInterval(t *testing.T) {
	u, to := newSummary(0), &told{}
	u.add(started(100, 1, 9, "/a", "x"))
	u.add(started(200, 2, 9, "/b", "x"))
	u.tell(to, uint64(time.Second), at(1000), false)
	u.tell(to, uint64(2*time.Second), at(2000), false) // nothing new: no row
	u.add(ended(2500, 1, 9, "/a", 2400, 0, ""))
	u.tell(to, uint64(4*time.Second), at(4000), true)
	var got []string
	for _, r := range to.rows {
		got = append(got, r.Exe+" "+strconv.Itoa(int(r.Count))+" "+r.Total.String()+" of "+r.Interval.String()+" "+strconv.FormatFloat(r.Rate, 'g', 3, 64))
	}
	if diff := cmp.Diff([]string{"/a 1 0s of 1s 1", "/b 1 0s of 1s 1", "/a 0 2.4s of 2s 0"}, got); diff != "" {
		t.Error(diff)
	}
	if to.events != 3 || to.sum.Interval != 4*time.Second || to.sum.Rate != 0.5 || to.closing[0].Rate != 0.25 {
		t.Errorf("%d events, sum %+v, closing %+v", to.events, to.sum, to.closing)
	}
}

func TestSummaryOfTooManyPrograms(t *testing.T) {
	u, to := newSummary(0), &told{}
	u.maxRows, u.maxRunning = 2, 4
	for i := range 5 {
		u.add(started(i, uint32(i+1), 9, "/"+strconv.Itoa(i), "x"))
	}
	for i := range 5 {
		u.add(ended(10+i, uint32(i+1), 9, "/"+strconv.Itoa(i), 10, 1, ""))
	}
	u.tell(to, 1, at(1), false)
	u.tell(to, 2, at(2), true)
	want := []event.ExecSummary{
		{Exe: "(other)", Count: 3, Failed: 2, Total: 20 * time.Millisecond, Max: 10 * time.Millisecond},
		{Exe: "/0", ParentComm: "x", Count: 1, Failed: 1, Total: 10 * time.Millisecond, Max: 10 * time.Millisecond},
		{Exe: "/1", ParentComm: "x", Count: 1, Failed: 1, Total: 10 * time.Millisecond, Max: 10 * time.Millisecond},
	}
	if diff := cmp.Diff(want, plain(to.closing)); diff != "" {
		t.Error(diff)
	}
	if len(to.notices) != 2 || to.notices[1] != "total " {
		t.Errorf("notices: %q", to.notices)
	}
}

// What is in a row was shown: --count stops at exactly as many, and what a filter
// leaves out is in no row.
func TestSummaryAccountsForEveryProgram(t *testing.T) {
	for _, c := range []struct {
		name  string
		opts  session.Options
		shown uint64
		want  uint64 // programs in rows
	}{
		{"all", session.Options{}, 14, 7},
		{"--count", session.Options{Count: 5}, 5, 3},
		{"--comm", session.Options{Filter: session.Filter{Comms: []string{"y"}}}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := record.New(t)
			x := &tracer{summary: true}
			x.host = session.Offline(x, c.opts, sink)
			x.history, x.sum = newHistory(x.host, "/nonexistent"), newSummary(0)
			x.walks = newWalks(x.host, x.sumUp)
			for i := range uint32(7) {
				x.Decode(start(i+1, 9, "x"))
				x.Decode(end(i+1, 9, "x"))
			}
			x.End()
			rows := uint64(0)
			for _, r := range record.All[*event.ExecSummary](sink) {
				rows += r.Count
			}
			if a := x.host.Ledger.Account(time.Second); rows != c.want || a.Shown != c.shown || a.Seen != a.Shown+a.Filtered["comm"] || a.Lost != 0 {
				t.Errorf("%d programs in rows: %+v", rows, a)
			}
		})
	}
}

// Known parents start known programs: the counts are exact, and the times are those of
// their own ends.
func TestKernelSummaryCountsProgramsExactly(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	var opts session.Options
	opts.Filter = itself
	r := record.Open(t, Probe, opts, "--summary")
	r.Run()
	const sleeps, exits, kills, missing = 13, 7, 5, 3
	began := time.Now()
	script := `i=0; while [ $i -lt ` + strconv.Itoa(sleeps) + ` ]; do /bin/sleep 0.01; i=$((i+1)); done
		i=0; while [ $i -lt ` + strconv.Itoa(exits) + ` ]; do /bin/sh -c "exit 3"; i=$((i+1)); done
		i=0; while [ $i -lt ` + strconv.Itoa(kills) + ` ]; do /bin/sh -c "kill -KILL \$\$"; i=$((i+1)); done
		i=0; while [ $i -lt ` + strconv.Itoa(missing) + ` ]; do /usr/bin/env /nonexistent/program; i=$((i+1)); done
		exit 0`
	if err := exec.Command("/bin/sh", "-c", script).Run(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	a := r.Stop()
	sh, err := exec.Command("/usr/bin/readlink", "-f", "/bin/sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	shell := string(sh[:len(sh)-1])
	type numbers struct{ Count, Failed, Killed, ExecFailed uint64 }
	got := map[programName]numbers{}
	total := map[programName]time.Duration{}
	for _, e := range r.Closing().Rows {
		s := e.(*event.ExecSummary)
		exe := s.Exe
		if i := slices.Index([]string{"/usr/bin/sleep", "/usr/bin/env"}, exe); i >= 0 {
			exe = []string{"sleep", "env"}[i]
		}
		got[programName{exe, s.ParentComm}] = numbers{s.Count, s.Failed, s.Killed, s.ExecFailed}
		total[programName{exe, s.ParentComm}] = s.Total
		if s.Max > s.Total || s.Total > took*2 {
			t.Errorf("%+v in %v", s, took)
		}
	}
	this := programName{shell, "exec.test"}
	for name := range got { // the binary of the test has the name that it was built under
		if name.exe == shell && name.parent != "sh" {
			this = name
		}
	}
	want := map[programName]numbers{
		this:                           {Count: 1},
		{"sleep", "sh"}:                {Count: sleeps},
		{shell, "sh"}:                  {Count: exits + kills, Failed: exits, Killed: kills},
		{"env", "sh"}:                  {Count: missing, Failed: missing},
		{"/nonexistent/program", "sh"}: {ExecFailed: missing},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d := total[programName{"sleep", "sh"}]; d < sleeps*10*time.Millisecond || d > took {
		t.Errorf("sleeps took %v of %v", d, took)
	}
	if d := total[this]; d > took || d < took/2 {
		t.Errorf("the shell took %v of %v", d, took)
	}
	if a.Lost != 0 || a.Seen != a.Shown {
		t.Errorf("account: %+v", a)
	}
}

func TestSummaryOfKnownProgramsAllocatesNothing(t *testing.T) {
	u := newSummary(0)
	start, end := started(1, 7, 1, "/a", "x"), ended(2, 7, 1, "/a", 1, 3, "")
	both := func() {
		u.add(start)
		u.add(end)
	}
	both()
	if n := testing.AllocsPerRun(100, both); n != 0 {
		t.Errorf("%v allocations for a program that starts and ends", n)
	}
}

func TestSummaryRowsAreSortedByKey(t *testing.T) {
	for key, want := range map[string]string{
		"total": "slow often bad", "count": "often slow bad", "rate": "often slow bad", "errors": "bad slow often", "max": "slow bad often",
	} {
		u := newSummary(0)
		u.key = func() string { return key }
		for exe, a := range map[string]programTally{
			"slow":  {events: 1, count: 2, total: 10 * time.Second, max: 9 * time.Second},
			"often": {events: 1, count: 9, total: 5 * time.Second, max: time.Second},
			"bad":   {events: 1, count: 1, failed: 3, total: 4 * time.Second, max: 4 * time.Second},
		} {
			row := &summaryRow{programName: programName{exe: exe}, now: a}
			u.list, u.active = append(u.list, row), append(u.active, row)
		}
		var told, again pages
		u.tell(&told, uint64(time.Second), time.Time{}, false)
		u.reorder(&again)
		if got := told.names(); got != want || again.names() != want {
			t.Errorf("by %s: %q, once more %q, want %q", key, got, again.names(), want)
		}
	}
}

// pages keeps the names in the rows of a page.
type pages struct{ exes []string }

func (p *pages) ShowRow(event.Event, uint64) {}
func (p *pages) Notice(*event.Notice)        {}
func (p *pages) names() string               { return strings.Join(p.exes, " ") }
func (p *pages) Page(page *event.Page) {
	p.exes = nil
	for e := range page.Rows {
		p.exes = append(p.exes, e.(*event.ExecSummary).Exe)
	}
}
