package render

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// summaryPageOf is a page with the usual and the hostile.
func summaryPageOf(closing bool) *event.Page {
	row := func(method, host, route string, count, errors uint64, rate float64, p50, p90, p99, most time.Duration) *event.HTTPSummary {
		return &event.HTTPSummary{
			Common: event.Common{Time: when, Kind: event.KindHTTPSummary}, Interval: time.Second,
			Method: method, Host: host, Route: route, Count: count, Errors: errors, Answered: count - errors/2,
			P50: p50, P90: p90, P99: p99, Max: most, Rate: rate, Failing: errors > 0 && rate > 0,
		}
	}
	const ms = time.Millisecond
	evil := "\x1b]0;owned\x07\x1b[2J\n\r\u202e\xff"
	unanswered := row("GET", "10.0.0.7:9090", "/never", 3, 3, 0.2, 0, 0, 0, 0)
	unanswered.Answered = 0
	hangs := row("GET", "shop.example", "/report", 0, 0, 0, 0, 0, 0, 0)
	hangs.Answered, hangs.Waiting, hangs.Oldest = 0, 2, 8200*ms
	rows := []*event.HTTPSummary{
		row("GET", "shop.example", "/users/{id}", 1234567, 0, 48211.4, 840*time.Microsecond, 2*ms, 12300*time.Microsecond, 4210*ms),
		row("POST", "shop.example", "/users", 9973, 41, 120, 12300*time.Microsecond, 99*ms, 999*ms, 61*time.Second),
		row("GET", "a-rather-long-name.internal.shop.example:8443", "/api/v1/customers/{id}/orders/{uuid}/positions/{id}/price.json", 997, 0, 9.5, 100*ms, 200*ms, 300*ms, 400*ms),
		row("", "", "(other)", 211, 1, 0, 1*ms, 2*ms, 3*ms, 4*ms),
		row("PROPPATCH", "日本語.example", "/引数/…", 101, 0, 0.004, 1*ms, 2*ms, 3*ms, 4*ms),
		row("OPTIONS", "", "*", 53, 0, 0, 1, 2, 3, 4),
		unanswered,
		hangs,
		row("POST", "", "", 2, 0, 2, ms, ms, ms, ms), // HTTP/2: its path is not known
		row("", "", "", 1, 0, 1, ms, ms, ms, ms),
		row("CONNECT", "db:5432", "", 1, 0, 1, ms, ms, ms, ms), // it has none
		row(evil, evil, "/"+evil, 1, 1, 1, 26*time.Hour, 26*time.Hour, 26*time.Hour, 26*time.Hour),
	}
	sum := row("", "", "", 1245906, 46, 48340.9, 850*time.Microsecond, 2100*time.Microsecond, 13*ms, 26*time.Hour)
	sum.Waiting, sum.Oldest = 2, 8200*ms
	p := &event.Page{Interval: time.Second, Elapsed: 12340 * ms, Closing: closing, Total: len(rows), Sum: sum}
	p.Rows = func(yield func(event.Event) bool) {
		for _, r := range rows {
			if !yield(r) {
				return
			}
		}
	}
	if closing {
		slow := func(status int, why string, took time.Duration, comm, method, host, path string) *event.HTTP {
			h := &event.HTTP{
				Common: event.Common{Time: when, Kind: event.KindHTTP, Process: event.Process{PID: 812, Comm: comm}},
				Status: status, Error: why, Duration: took, Method: method, Host: host, Path: path,
			}
			if status != 0 {
				h.Latency = took
			}
			return h
		}
		p.Below = []event.Event{
			slow(0, "timeout", 30*time.Second, "nginx", "GET", "shop.example", "/users/42?verbose=1"),
			slow(503, "", 4210*ms, "node", "POST", "shop.example", "/users"),
			slow(200, "", 4200*ms, "\x1b[31mred", evil, evil, "/"+evil),
		}
	}
	return p
}

func summaryOptions(opts TableOptions) PageOptions {
	view := Views["http-summary"]
	opts.Mark = view.Mark
	if opts.Columns == nil {
		opts.Columns = Defaults(view.Columns)
	}
	return PageOptions{TableOptions: opts, Title: view.Title, Below: view.Below}
}

// TestScreensOfHTTPSummary shows the live screen, and below it the closing table.
func TestScreensOfHTTPSummary(t *testing.T) {
	for _, width := range []int{60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			tty := terminal(t, width, 24)
			s := newScreen(t, width, 24)
			live := NewLive(summaryOptions(TableOptions{Terminal: tty}))
			s.write(live.AppendPage(nil, summaryPageOf(false)))
			b := []byte(strings.TrimRight(strings.Join(s.lines(), "\n"), "\n") + "\n\n")
			s.write(live.AppendPage(nil, summaryPageOf(true)))
			b = append(b, strings.Join(s.main, "\n")...)
			checkGolden(t, fmt.Sprintf("http-summary-%d.txt", width), append(b, '\n'))
			for line := range bytes.Lines(b) {
				if n := textWidth(bytes.TrimSuffix(line, []byte("\n"))); n > width {
					t.Errorf("%d cells: %s", n, line)
				}
			}
		})
	}
}

// TestLinesOfHTTPSummary shows the output to a pipe, with all columns.
func TestLinesOfHTTPSummary(t *testing.T) {
	lines := NewLines(summaryOptions(TableOptions{Columns: Views["http-summary"].Columns}))
	var b []byte
	for e := range summaryPageOf(false).Rows {
		b = lines.AppendEvent(b, e)
	}
	b = lines.AppendPage(b, summaryPageOf(false))
	b = lines.AppendPage(b, summaryPageOf(true))
	checkGolden(t, "http-summary-pipe.txt", b)
	if bytes.ContainsAny(b, "\x1b\x07\r\xff") || bytes.Contains(b, []byte("\u202e")) {
		t.Error("a stranger's text reaches the terminal")
	}
}

func TestMarksOfHTTPSummary(t *testing.T) {
	for _, c := range []struct {
		rate    float64
		failing bool
		waiting uint64
		want    Mark
	}{{1, false, 0, Usual}, {0, false, 0, Quiet}, {1, true, 0, Failed}, {0, false, 1, Usual}} {
		if got := summaryMark(&event.HTTPSummary{Rate: c.rate, Failing: c.failing, Waiting: c.waiting}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestClosingTableLeavesRoomForTheLinesBelow(t *testing.T) {
	for _, height := range []int{4, 11, 13, 17, 40} {
		tty := terminal(t, 80, height)
		b := NewLines(summaryOptions(TableOptions{Terminal: tty})).AppendPage(nil, summaryPageOf(true))
		got := strings.Count(string(b), "\n")
		room := max(height-5-3, 1)
		want := 2 + min(12, room) + 3 // title and header, rows, slowest
		if room < 12 {
			want++ // how many more there are
		}
		if got != want {
			t.Errorf("%d lines on a terminal of %d, want %d:\n%s", got, height, want, b)
		}
	}
}

func TestAppendPace(t *testing.T) {
	for perSecond, want := range map[float64]string{
		0: "", 0.004: "<0.01", 0.005: "0.01", 0.2: "0.2", 9.994: "9.99", 9.996: "10", 120: "120", 999.4: "999", 999.6: "1000", 48211.4: "48211",
	} {
		if got := string(appendPace(nil, perSecond)); got != want {
			t.Errorf("%v: %q, want %q", perSecond, got, want)
		}
	}
}

// People read it in the closing table.
func TestTotalIsAMessageForProgramsOnly(t *testing.T) {
	n := &event.Notice{Kind: "total", About: summaryPageOf(true).Sum}
	for json, want := range map[bool]string{
		false: "",
		true: `{"event":"total","about":{"time":"2024-03-05T14:04:05.067890000Z","event":"http_summary","interval_us":1000000,` +
			`"count":1245906,"errors":46,"waiting":2,"oldest_us":8200000,"p50_us":850,"p90_us":2100,"p99_us":13000,"max_us":93600000000}}` + "\n",
	} {
		var b strings.Builder
		NewMessages(&b, json).Notice(n)
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Error(diff)
		}
	}
}
