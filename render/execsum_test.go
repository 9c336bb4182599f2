package render

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"tracer/trace/event"
)

// programsPageOf is a page of exec --summary with the usual and the hostile.
func programsPageOf(closing bool) *event.Page {
	const ms = time.Millisecond
	row := func(exe, parent string, count, failed, killed, missing uint64, rate float64, total, longest time.Duration) *event.ExecSummary {
		return &event.ExecSummary{
			Common: event.Common{Time: when, Kind: event.KindExecSummary}, Interval: time.Second,
			Exe: exe, ParentComm: parent, Count: count, Failed: failed, Killed: killed, ExecFailed: missing, Total: total, Max: longest,
			Rate: rate, Failing: failed+killed+missing > 0 && rate > 0,
		}
	}
	evil := "\x1b]0;owned\x07\x1b[2J\n\r\u202e\xff"
	rows := []*event.ExecSummary{
		row("/usr/bin/python3.11", "cron", 41, 0, 0, 0, 0, 77*time.Minute, 4210*time.Second),
		row("/usr/bin/git", "runner", 1234567, 9973, 0, 0, 482.4, 61*time.Second, 840*ms),
		row("/usr/bin/dash", "a-parent-of-16c", 211, 3, 101, 0, 120, 12300*ms, 99*ms),
		row("/opt/vendor/agent/releases/2026-11-30T04:12:55/bin/collector-with-a-rather-long-name", "systemd", 7, 0, 7, 0, 0.2, 7*ms, ms),
		row("/srv/引数/日本語", "日本語", 1, 0, 0, 0, 1, 840*time.Microsecond, 840*time.Microsecond),
		row("", "bash", 1, 0, 0, 0, 0, ms, ms),
		row("/usr/sbin/sshd", "systemd", 1, 0, 0, 0, 0, 0, 0),
		row("nosuch", "make", 0, 0, 0, 17, 0, 0, 0),
		row("/usr/bin/worker", "", 0, 0, 1, 0, 0, 0, 0),
		row("(other)", "", 53, 1, 1, 1, 0, 3*ms, 2*ms),
		row("/"+evil, evil, 1, 0, 0, 0, 1, 26*time.Hour, 26*time.Hour),
	}
	sum := row("", "", 1234883, 9977, 110, 18, 604.6, 28*time.Hour, 26*time.Hour)
	p := &event.Page{Interval: time.Second, Elapsed: 12340 * ms, Closing: closing, Total: len(rows), Sum: sum}
	p.Rows = func(yield func(event.Event) bool) {
		for _, r := range rows {
			if !yield(r) {
				return
			}
		}
	}
	return p
}

func programsOptions(opts TableOptions) PageOptions {
	view := Views["exec-summary"]
	opts.Mark = view.Mark
	if opts.Columns == nil {
		opts.Columns = Defaults(view.Columns)
	}
	return PageOptions{TableOptions: opts, Title: view.Title}
}

// TestScreensOfExecSummary shows the live screen, and below it the closing table.
func TestScreensOfExecSummary(t *testing.T) {
	for _, width := range []int{60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			tty := terminal(t, width, 24)
			s := newScreen(t, width, 24)
			live := NewLive(programsOptions(TableOptions{Terminal: tty}))
			s.write(live.AppendPage(nil, programsPageOf(false)))
			b := []byte(strings.TrimRight(strings.Join(s.lines(), "\n"), "\n") + "\n\n")
			s.write(live.AppendPage(nil, programsPageOf(true)))
			b = append(b, strings.Join(s.main, "\n")...)
			checkGolden(t, fmt.Sprintf("exec-summary-%d.txt", width), append(b, '\n'))
			for line := range bytes.Lines(b) {
				if n := textWidth(bytes.TrimSuffix(line, []byte("\n"))); n > width {
					t.Errorf("%d cells: %s", n, line)
				}
			}
		})
	}
}

// TestLinesOfExecSummary shows the output to a pipe, with all columns.
func TestLinesOfExecSummary(t *testing.T) {
	lines := NewLines(programsOptions(TableOptions{Columns: Views["exec-summary"].Columns}))
	var b []byte
	for e := range programsPageOf(false).Rows {
		b = lines.AppendEvent(b, e)
	}
	b = lines.AppendPage(b, programsPageOf(false))
	b = lines.AppendPage(b, programsPageOf(true))
	checkGolden(t, "exec-summary-pipe.txt", b)
	if bytes.ContainsAny(b, "\x1b\x07\r\xff") || bytes.Contains(b, []byte("\u202e")) {
		t.Error("a stranger's text reaches the terminal")
	}
}

func TestMarksOfExecSummary(t *testing.T) {
	for _, c := range []struct {
		rate    float64
		failing bool
		want    Mark
	}{{1, false, Usual}, {0, false, Quiet}, {1, true, Failed}, {0, true, Failed}} {
		if got := execSummaryMark(&event.ExecSummary{Rate: c.rate, Failing: c.failing}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A program stands below the one that started it, up to a depth at which its text would
// have no room.
func TestTreeIsIndented(t *testing.T) {
	for depth, want := range map[int]int{0: 0, 1: 2, 3: 6, 12: 24, 99: 24} {
		for _, e := range []event.Event{
			&event.Exec{Depth: depth, Program: event.Program{Args: []string{"ls"}}},
			&event.Exit{Depth: depth, Program: event.Program{Args: []string{"ls"}}},
			&event.ExecFailed{Depth: depth, Program: event.Program{Exe: "ls"}, Error: "ENOENT"},
		} {
			text := string(appendExecCommand(nil, e))
			if got := len(text) - len(strings.TrimLeft(text, " ")); got != want {
				t.Errorf("%T %d deep: %d cells: %q", e, depth, got, text)
			}
		}
	}
}
