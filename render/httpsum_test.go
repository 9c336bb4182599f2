package render

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// summaryPageOf is a page with the usual and the hostile.
func summaryPageOf(closing bool) *event.Page {
	spread := func(most time.Duration, n ...uint64) (s event.Spread) { // that ends with the slowest
		var last event.Spread
		last.Add(most)
		at := slices.Index(last[:], 1) - len(n) + 1
		for i, n := range n {
			s[max(at+i, 0)] += n
		}
		return s
	}
	row := func(method, host, route string, count, errors uint64, rate float64, p50, p90, p99, most time.Duration) *event.HTTPSummary {
		return &event.HTTPSummary{
			Common: event.Common{Time: when, Kind: event.KindHTTPSummary}, Interval: time.Second,
			Method: method, Host: host, Route: route, Count: count, Errors: errors, Answered: count - errors/2,
			P50: p50, P90: p90, P99: p99, Max: most, Rate: rate, Failing: errors > 0 && rate > 0,
			Status5xx: errors - errors/2, Unanswered: errors / 2, Total: time.Duration(count) * p50, Spent: time.Duration(count) * p50,
			Last: when, Spread: spread(most, count, 0, count/2, count/100),
		}
	}
	const ms = time.Millisecond
	evil := "\x1b]0;owned\x07\x1b[2J\n\r\u202e\xff"
	unanswered := row("GET", "10.0.0.7:9090", "/never", 3, 3, 0.2, 0, 0, 0, 0)
	unanswered.Answered, unanswered.Unanswered, unanswered.Status5xx, unanswered.Spread = 0, 3, 0, event.Spread{}
	unanswered.Total, unanswered.Spent = 90*time.Second, 90*time.Second
	hangs := row("GET", "shop.example", "/report", 0, 0, 0, 0, 0, 0, 0)
	hangs.Answered, hangs.Waiting, hangs.Oldest, hangs.Spent, hangs.Last, hangs.Spread = 0, 2, 8200*ms, 9100*ms, time.Time{}, event.Spread{}
	queues := row("GET", "a-rather-long-name.internal.shop.example:8443", "/queued", 997, 0, 9.5, 384*ms, 400*ms, 420*ms, 500*ms)
	queues.Both, queues.Slow, queues.ServerAnswered, queues.ServerP50, queues.ServerP99, queues.Status4xx = true, true, 997, 80*ms, 95*ms, 7
	queues.Where = event.Where{AcceptWait: 210 * time.Second, Queue: 80 * time.Second, CPU: 2 * time.Second, Blocked: 10 * ms}
	rows := []*event.HTTPSummary{
		queues,
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
	{
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
		queued := slow(200, "", 8*time.Second, "python3", "GET", "shop.example", "/queued")
		queued.ServerLatency = 80 * ms
		p.Below = []event.Event{
			queued,
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
	return PageOptions{TableOptions: opts, Title: view.Title, Below: view.Below, Order: &order{}}
}

// An order has two keys.
type order struct{ turned atomic.Int32 }

func (o *order) Next()       { o.turned.Add(1) }
func (o *order) Key() string { return []string{"total", "p99"}[o.turned.Load()%2] }

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
		slow    bool
		waiting uint64
		oldest  time.Duration
		want    Mark
		word    string
	}{
		{rate: 1, want: Usual},
		{rate: 0, want: Quiet},
		{rate: 1, failing: true, want: Failed, word: "errors"},
		{rate: 1, slow: true, want: Slow, word: "slow"},
		{rate: 1, slow: true, failing: true, want: Failed, word: "slow"},
		{waiting: 1, want: Usual},
		{waiting: 1, oldest: 999 * time.Millisecond, want: Usual},
		{waiting: 1, oldest: 2 * time.Second, want: Usual}, // one took as long
		{waiting: 1, oldest: 2*time.Second + 1, want: Failed, word: "waits"},
	} {
		e := &event.HTTPSummary{Rate: c.rate, Failing: c.failing, Slow: c.slow, Waiting: c.waiting, Oldest: c.oldest, Max: 2 * time.Second}
		if got, word := summaryMark(e), stateOf(e); got != c.want || word != c.word {
			t.Errorf("%+v: %v %q", c, got, word)
		}
	}
}

func TestClosingTableLeavesRoomForTheLinesBelow(t *testing.T) {
	for _, height := range []int{4, 11, 13, 17, 40} {
		tty := terminal(t, 80, height)
		b := NewLines(summaryOptions(TableOptions{Terminal: tty})).AppendPage(nil, summaryPageOf(true))
		got := strings.Count(string(b), "\n")
		room := max(height-5-4, 1)
		want := 2 + min(13, room) + 4 // title and header, rows, slowest
		if room < 13 {
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
			`"count":1245906,"errors":46,"status_4xx":0,"status_5xx":23,"unanswered":23,"waiting":2,"oldest_us":8200000,` +
			`"p50_us":850,"p90_us":2100,"p99_us":13000,"max_us":93600000000,"total_us":1059020100}}` + "\n",
	} {
		var b strings.Builder
		NewMessages(&b, json).Notice(n)
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Error(diff)
		}
	}
}

// The key s changes the order, of which the last line tells. Other keys and those of
// several bytes do nothing.
func TestKeyChangesTheOrder(t *testing.T) {
	tty := terminal(t, 80, 24)
	opts := summaryOptions(TableOptions{Terminal: tty})
	live := NewLive(opts)
	live.keyed = true
	for _, c := range []struct{ typed, want string }{
		{"", "sorted by total; press s for another order, ? for all keys"},
		{"s", "sorted by p99; press s for another order, ? for all keys"},
		{"xS\r\t", "sorted by p99; press s for another order, ? for all keys"},
		{"\x1b[s", "sorted by p99; press s for another order, ? for all keys"},
		{"sss", "sorted by total; press s for another order, ? for all keys"},
	} {
		listen(strings.NewReader(c.typed), live.press)
		if got := live.foot(0, live.total, live.looking()); got != c.want {
			t.Errorf("%q: %q, want %q", c.typed, got, c.want)
		}
	}
	live.keyed = false
	s := newScreen(t, 80, 24)
	for _, c := range []struct{ typed, want string }{{"", "lost"}, {"x", "lost"}, {"s", "sorted by p99"}} {
		if c.typed == "" {
			live.Note("lost")
		}
		listen(strings.NewReader(c.typed), live.press)
		s.write(live.AppendPage(nil, summaryPageOf(false)))
		if got := s.lines()[23]; got != c.want {
			t.Errorf("a message, then %q: %q, want %q", c.typed, got, c.want)
		}
	}
	plain := NewLive(liveOptions(tty))
	plain.press('s') // has no order
}

// A small screen has no room for the slowest exchanges.
func TestSlowestExchangesGiveWayToRows(t *testing.T) {
	for height, want := range map[int]int{24: 4, 14: 4, 13: 0} {
		tty := terminal(t, 80, height)
		s := newScreen(t, 80, height)
		s.write(NewLive(summaryOptions(TableOptions{Terminal: tty})).AppendPage(nil, summaryPageOf(false)))
		lines := s.lines()
		if got := strings.Count(strings.Join(lines, "\n"), "slowest: "); got != want {
			t.Errorf("height %d: %d, want %d", height, got, want)
		}
		rows := height - 3 - want // title, header, foot
		more := fmt.Sprintf("and %d more, sorted by total", 13-rows)
		if rows >= 13 {
			more = "sorted by total"
		}
		if last := lines[height-1]; last != more {
			t.Errorf("height %d: %q, want %q", height, last, more)
		}
	}
}

// The shares are of what is known, the most first.
func TestSharesOfWhereTimeWent(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		where event.Where
		want  string
	}{
		"nothing is known":        {event.Where{}, ""},
		"one":                     {event.Where{Blocked: 1}, "100% blocked"},
		"all":                     {event.Where{AcceptWait: 10 * ms, Queue: 40 * ms, CPU: 20 * ms, RunQueue: 5 * ms, Blocked: 25 * ms}, "40% in the socket, 25% blocked, 20% cpu, 10% to accept, 5% run queue"},
		"what is next to nothing": {event.Where{CPU: 9, Blocked: 991}, "99% blocked"},
		"a year of it":            {event.Where{CPU: 3000 * time.Hour, Blocked: 5760 * time.Hour}, "66% blocked, 34% cpu"},
	} {
		if got := string(appendShares(nil, &event.HTTPSummary{Where: c.where})); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestHistogram(t *testing.T) {
	for name, c := range map[string]struct {
		spread event.Spread
		want   string
	}{
		"nothing":                {event.Spread{}, ""},
		"one":                    {event.Spread{6: 1}, "      █              "},
		"all magnitudes":         {event.Spread{0: 8, 1: 7, 2: 6, 3: 5, 4: 4, 5: 3, 6: 2, 7: 1, 20: 8}, "█▇▆▅▄▃▂▁            █"},
		"a few of many are seen": {event.Spread{7: 1000000, 15: 1}, "       █       ▁     "},
	} {
		if got := string(appendSpread(nil, &event.HTTPSummary{Spread: c.spread})); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	// The axis stands where its times begin.
	for text, d := range map[string]time.Duration{"10µs": 10 * time.Microsecond, "1ms": time.Millisecond, "100ms": 100 * time.Millisecond, "10s": 10 * time.Second} {
		var s event.Spread
		s.Add(d)
		at := strings.Index(strings.ReplaceAll(spreadAxis, "µ", "u"), strings.ReplaceAll(text, "µ", "u"))
		if at != slices.Index(s[:], 1) {
			t.Errorf("%s stands at %d, and is counted in %d", text, at, slices.Index(s[:], 1))
		}
	}
}

func TestHostKeepsItsPort(t *testing.T) {
	for _, c := range []struct {
		host  string
		width int
		want  string
	}{
		{"a-rather-long-name.internal.shop.example:8443", 20, "a-rather-long-…:8443"},
		{"a-rather-long-name.internal.shop.example", 20, "a-rather-long-name.…"},
		{"[2001:db8::1234:5678:9abc]:8443", 12, "[2001:…:8443"},
		{"[2001:db8::1234:5678:9abc]", 12, "[2001:db8::…"},
		{"日本語.example:80", 8, "日本…:80"},
		{"shop.example:65535", 8, "s…:65535"},
		{"shop.example:65535", 7, "shop.e…"},
		{"12345678901", 8, "1234567…"},
		{"shop.example.org:", 8, "shop.ex…"},
	} {
		if got := string(cutHost([]byte(c.host), c.width)); got != c.want {
			t.Errorf("%s in %d: %q, want %q", c.host, c.width, got, c.want)
		}
	}
}

// What is slow stands out by colour and by a word, as what fails does.
func TestSlowStandsOut(t *testing.T) {
	at := event.Common{Time: when, Kind: event.KindHTTP}
	for _, c := range []struct {
		view        string
		e           event.Event
		color, word string
	}{
		{"http", &event.HTTP{Common: at, Status: 200, Latency: time.Second, Duration: time.Second}, "\x1b[33m", "200 slow"},
		{"http", &event.HTTP{Common: at, Status: 200, Latency: time.Millisecond, Duration: time.Hour}, "", "200 "},
		{"http", &event.HTTP{Common: at, Status: 503, Latency: time.Second, Duration: time.Second}, "\x1b[31m", "503 slow"},
		{"http", &event.HTTP{Common: at, Error: "closed", ClosedBy: "client", Duration: time.Second}, "\x1b[31m", "closed by client"},
		{"http-summary", &event.HTTPSummary{Count: 1, Rate: 1, Slow: true}, "\x1b[33m", " slow "},
		{"http-summary", &event.HTTPSummary{Count: 1, Rate: 1, Slow: true, Failing: true}, "\x1b[31m", " slow "},
		{"http-summary", &event.HTTPSummary{Count: 1, Rate: 1, Errors: 1, Failing: true}, "\x1b[31m", " errors "},
		{"http-summary", &event.HTTPSummary{Waiting: 1, Oldest: time.Second}, "\x1b[31m", " waits "},
	} {
		view := Views[c.view]
		table := NewTable(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark, Color: true})
		text := string(table.AppendEvent(nil, c.e))
		row := text[strings.Index(text, "\n")+1:]
		if !strings.HasPrefix(row, c.color) || strings.Contains(row, "\x1b") != (c.color != "") || !strings.Contains(row, c.word) {
			t.Errorf("%s: %q lacks %q or %q", c.view, row, c.color, c.word)
		}
	}
}
