package render

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tracer/trace/event"
)

// connPage is a page with the usual and the hostile.
func connPage(closing bool) *event.Page {
	row := func(pid uint32, comm, role, dst, result string, count uint64, rate float64, p50, most time.Duration) *event.ConnSummary {
		s := &event.ConnSummary{
			Common:   event.Common{Time: when, Kind: event.KindConnSummary, Process: event.Process{PID: pid, Comm: comm, UID: 1000, CgroupID: 77}},
			Interval: time.Second, Role: role, Dst: netip.MustParseAddrPort(dst), Result: result, Count: count, Rate: rate,
			P50: p50, Max: most, First: when.Add(-time.Hour), Last: when,
		}
		if p50 > 0 {
			s.Answered = count
		}
		if role == event.RoleServer {
			s.Dst = netip.AddrPortFrom(netip.Addr{}, s.Dst.Port())
		}
		return s
	}
	const ms = time.Millisecond
	client, server := event.RoleClient, event.RoleServer
	rows := []*event.ConnSummary{
		row(17758, "python3", client, "127.0.0.1:16379", "ECONNREFUSED", 1470, 49, 30*time.Microsecond, ms),
		row(812, "nginx", server, "10.0.0.5:443", event.ResultAccepted, 1301, 120, 0, 0),
		row(4000000, "a-long-name-of-p", client, "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535", event.ResultConnected, 97, 0, 12300*time.Microsecond, 4210*ms),
		row(812, "nginx", server, "10.0.0.5:443", event.ResultReset, 13, 0.2, 0, 0),
		row(99, "curl", client, "192.0.2.1:80", event.ResultNoAnswer, 3, 0, 0, 0),
		row(99, "curl", client, "192.0.2.1:80", "ENETUNREACH", 2, 1, 0, 0),
		row(7, "\x1b[31mred\u202e", client, "10.0.0.9:5432", "ETIMEDOUT", 1, 1, 7*time.Second, 7*time.Second),
		{Common: event.Common{Time: when, Kind: event.KindConnSummary}, Result: "(other)", Count: 1, First: when, Last: when},
	}
	rows[1].Tx, rows[1].Rx = 1<<30, 1009
	sum := &event.ConnSummary{Common: event.Common{Time: when, Kind: event.KindConnSummary}, Count: 2888, Rate: 171}
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

// connTurnsPage is connPage with what --turns adds.
func connTurnsPage(closing bool) *event.Page {
	p := connPage(closing)
	rows := p.Rows
	p.Rows = func(yield func(event.Event) bool) {
		for e := range rows {
			switch s := e.(*event.ConnSummary); s.Result {
			case event.ResultAccepted:
				s.Turns, s.TurnP50, s.TurnP99, s.TurnMax = 26020, 840*time.Microsecond, 12300*time.Microsecond, 1470*time.Millisecond
			case event.ResultConnected:
				s.Turns, s.TurnMax = 1, 7*time.Nanosecond // the times of some recordings are not known
			}
			if !yield(e) {
				return
			}
		}
	}
	return p
}

func connSummaryOptionsOf(opts TableOptions) PageOptions {
	return connSummaryOptionsIn("conn-summary", opts)
}

func connSummaryOptionsIn(name string, opts TableOptions) PageOptions {
	view := Views[name]
	opts.Mark = view.Mark
	if opts.Columns == nil {
		opts.Columns = Defaults(view.Columns)
	}
	return PageOptions{TableOptions: opts, Title: view.Title, Below: view.Below}
}

// TestScreensOfConnSummary shows the live screen, and below it the closing table.
func TestScreensOfConnSummary(t *testing.T) {
	for _, width := range []int{60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			b := connSummaryScreens(t, width, "conn-summary", connPage)
			checkGolden(t, fmt.Sprintf("conn-summary-%d.txt", width), b)
			for line := range bytes.Lines(b) {
				if n := textWidth(bytes.TrimSuffix(line, []byte("\n"))); n > width {
					t.Errorf("%d cells: %s", n, line)
				}
			}
		})
	}
}

// TestScreensOfTurns is the same with --turns.
func TestScreensOfTurns(t *testing.T) {
	for _, width := range []int{60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			b := connSummaryScreens(t, width, "conn-summary turns", connTurnsPage)
			checkGolden(t, fmt.Sprintf("conn-summary-turns-%d.txt", width), b)
			if width >= 80 && !bytes.Contains(b, []byte("26020")) {
				t.Error("it does not say how many turns there were")
			}
		})
	}
}

func connSummaryScreens(t *testing.T, width int, view string, page func(closing bool) *event.Page) []byte {
	s := newScreen(t, width, 24)
	live := NewLive(connSummaryOptionsIn(view, TableOptions{Terminal: terminal(t, width, 24)}))
	s.write(live.AppendPage(nil, page(false)))
	b := []byte(strings.TrimRight(strings.Join(s.lines(), "\n"), "\n") + "\n\n")
	s.write(live.AppendPage(nil, page(true)))
	return append(append(b, strings.Join(s.main, "\n")...), '\n')
}

// TestLinesOfConnSummary shows the output to a pipe, with all columns.
func TestLinesOfConnSummary(t *testing.T) {
	lines := NewLines(connSummaryOptionsOf(TableOptions{Columns: Views["conn-summary"].Columns}))
	var b []byte
	for e := range connPage(false).Rows {
		b = lines.AppendEvent(b, e)
	}
	b = lines.AppendPage(b, connPage(false))
	b = lines.AppendPage(b, connPage(true))
	checkGolden(t, "conn-summary-pipe.txt", b)
	if bytes.ContainsAny(b, "\x1b\x07\r\xff") || bytes.Contains(b, []byte("\u202e")) {
		t.Error("a stranger's text reaches the terminal")
	}
}
