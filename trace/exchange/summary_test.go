package exchange

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// summaryRows is what a summary has told.
type summaryRows struct {
	rows    []event.HTTPSummary
	lines   []byte // the same as JSON
	pages   []summaryPage
	notices []string
}

type summaryPage struct {
	event.Page
	rows []event.HTTPSummary
}

func (c *summaryRows) Event(e event.Event) bool {
	c.rows = append(c.rows, *e.(*event.HTTPSummary))
	c.lines = append(event.AppendJSON(c.lines, e), '\n')
	return true
}

func (c *summaryRows) Page(p *event.Page) {
	page := summaryPage{Page: *p}
	for e := range p.Rows {
		page.rows = append(page.rows, *e.(*event.HTTPSummary))
	}
	c.pages = append(c.pages, page)
}

func (c *summaryRows) Flush() error            { return nil }
func (c *summaryRows) Broken() <-chan struct{} { return nil }
func (c *summaryRows) Close() (uint64, error)  { return 0, nil }

// summaryEpoch is the wall time at which the boot clock of summarySession is 0.
var summaryEpoch = time.Date(2024, 3, 5, 14, 4, 5, 0, time.UTC)

// summarySession is a session without a kernel.
func summarySession() (*Session, *summaryRows) {
	c := &summaryRows{}
	s := &Session{sink: c, clock: &clock{offset: summaryEpoch.UnixNano()}, stats: newStats()}
	s.opts.Notice = func(n *event.Notice) { c.notices = append(c.notices, string(n.AppendJSON(nil))) }
	return s, c
}

func exchange(method, host, path string, status int, latency time.Duration) *event.HTTP {
	return &event.HTTP{
		Common: event.Common{Kind: event.KindHTTP}, Method: method, Host: host, Path: path,
		Status: status, Latency: latency, Duration: latency + time.Millisecond,
	}
}

func unanswered(method, host, path, why string, after time.Duration) *event.HTTP {
	return &event.HTTP{
		Common: event.Common{Kind: event.KindHTTP}, Method: method, Host: host, Path: path, Error: why, Duration: after,
	}
}

// nearestRank is the percentile of sorted values, by definition.
func nearestRank(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

func TestSummaryPercentilesAreTrueWithinOnePercent(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	between := func(from, to time.Duration) time.Duration {
		return from + time.Duration(random.Int64N(int64(to-from)))
	}
	for name, draw := range map[string]func(i int) time.Duration{
		"one after the other":  func(i int) time.Duration { return time.Duration(i+1) * time.Millisecond },
		"the other way around": func(i int) time.Duration { return time.Duration(20000-i) * time.Microsecond },
		"always the same":      func(int) time.Duration { return 12345678 },
		"uniform":              func(int) time.Duration { return between(50*time.Microsecond, 400*time.Millisecond) },
		"exponential":          func(int) time.Duration { return time.Duration(random.ExpFloat64() * 3e6) },
		"log normal":           func(int) time.Duration { return time.Duration(math.Exp(random.NormFloat64()*2.5) * 1e6) },
		"of all magnitudes":    func(int) time.Duration { return time.Duration(math.Exp2(random.Float64() * 51)) },
		"a tail of one in 50": func(i int) time.Duration {
			if i%50 == 7 {
				return between(2*time.Second, 3*time.Second)
			}
			return between(800*time.Microsecond, time.Millisecond)
		},
		"two humps": func(i int) time.Duration {
			if i%2 == 0 {
				return between(100*time.Microsecond, 110*time.Microsecond)
			}
			return between(900*time.Millisecond, time.Second)
		},
		"nothing": func(int) time.Duration { return 0 },
	} {
		for _, n := range []int{1, 2, 3, 7, 9, 10, 11, 99, 100, 101, 997, 19997} {
			t.Run(fmt.Sprintf("%d %s", n, name), func(t *testing.T) {
				s, c := summarySession()
				u := newSummary(0)
				check := func(what string, got event.HTTPSummary, values []time.Duration) {
					t.Helper()
					sorted := slices.Sorted(slices.Values(values))
					if got.Count != uint64(len(sorted)) || got.Answered != got.Count || got.Max != sorted[len(sorted)-1] {
						t.Errorf("%s: count %d, answered %d, max %v; want %d, max %v", what, got.Count, got.Answered, got.Max, len(sorted), sorted[len(sorted)-1])
					}
					for percent, v := range map[int]time.Duration{50: got.P50, 90: got.P90, 99: got.P99} {
						want := nearestRank(sorted, percent)
						if math.Abs(float64(v-want)) > float64(want)*0.01 {
							t.Errorf("%s: p%d is %v, want %v", what, percent, v, want)
						}
					}
				}
				// In three intervals of different lengths, as far as there are enough.
				var all []time.Duration
				told := 0
				for part, until := range []int{n / 7, n / 2, n} {
					from := len(all)
					for len(all) < until {
						all = append(all, draw(len(all)))
						u.add(exchange("GET", "h", "/", 200, all[len(all)-1]))
					}
					u.tell(s, uint64(part+1)*uint64(time.Second), part == 2)
					if len(all) == from {
						continue
					}
					check(fmt.Sprintf("interval %d", part), c.rows[told], all[from:])
					told++
					check("the row so far", c.pages[part].rows[0], all)
					check("all so far", *c.pages[part].Sum.(*event.HTTPSummary), all)
				}
				if len(c.rows) != told {
					t.Errorf("%d rows, want %d", len(c.rows), told)
				}
			})
		}
	}
}

// TestSummaryTellsIntervals is the whole of a short life, as JSON.
func TestSummaryTellsIntervals(t *testing.T) {
	s, c := summarySession()
	const second = uint64(time.Second)
	u := newSummary(second)
	for i := range 7 {
		u.add(exchange("GET", "Shop.example", fmt.Sprintf("/users/%d?page=%d", 40+i, i), 200, time.Duration(i+1)*time.Millisecond))
	}
	u.add(exchange("GET", "shop.example", "/users/0049?x=/y", 503, 2*time.Second))
	u.add(exchange("POST", "shop.example", "/users", 201, 840*time.Microsecond))
	u.add(unanswered("GET", "", "/health", "reset", 30*time.Second))
	stuck := unanswered("GET", "", "/health", "", 0)
	stuck.Kind = event.KindHTTPStuck
	u.add(stuck)
	u.tell(s, 2*second, false)
	u.tell(s, 3*second, false)
	for range 11 {
		u.add(exchange("POST", "shop.example", "/users", 404, time.Microsecond))
	}
	u.tell(s, 4*second, false)
	u.add(exchange("GET", "shop.example", "/users/1", 500, 3*time.Millisecond))
	u.tell(s, 4*second+second/4, true)

	const interval = `,"event":"http_summary","interval_us":1000000,`
	want := `{"time":"2024-03-05T14:04:07.000000000Z"` + interval + `"method":"GET","host":"shop.example","route":"/users/{id}","count":8,"errors":1,"p50_us":4014,"p90_us":2000000,"p99_us":2000000,"max_us":2000000}
{"time":"2024-03-05T14:04:07.000000000Z"` + interval + `"method":"GET","route":"/health","count":1,"errors":1}
{"time":"2024-03-05T14:04:07.000000000Z"` + interval + `"method":"POST","host":"shop.example","route":"/users","count":1,"errors":0,"p50_us":840,"p90_us":840,"p99_us":840,"max_us":840}
{"time":"2024-03-05T14:04:09.000000000Z"` + interval + `"method":"POST","host":"shop.example","route":"/users","count":11,"errors":0,"p50_us":1,"p90_us":1,"p99_us":1,"max_us":1}
{"time":"2024-03-05T14:04:09.250000000Z","event":"http_summary","interval_us":250000,"method":"GET","host":"shop.example","route":"/users/{id}","count":1,"errors":1,"p50_us":3000,"p90_us":3000,"p99_us":3000,"max_us":3000}
`
	if diff := cmp.Diff(want, string(c.lines)); diff != "" {
		t.Error(diff)
	}

	// Pages: an interval's rates, all the rest of the whole run.
	type row struct {
		Name    string
		Count   uint64
		Errors  uint64
		Rate    float64
		Failing bool
	}
	var pages [][]row
	for _, p := range c.pages {
		var rows []row
		for _, e := range append(p.rows, *p.Sum.(*event.HTTPSummary)) {
			rows = append(rows, row{e.Method + e.Route, e.Count, e.Errors, e.Rate, e.Failing})
		}
		pages = append(pages, rows)
		if p.Total != len(p.rows) {
			t.Errorf("a page of %d rows says %d", len(p.rows), p.Total)
		}
	}
	wantPages := [][]row{
		{{"GET/users/{id}", 8, 1, 8, true}, {"GET/health", 1, 1, 1, true}, {"POST/users", 1, 0, 1, false}, {"", 10, 2, 10, true}},
		{{"GET/users/{id}", 8, 1, 0, false}, {"GET/health", 1, 1, 0, false}, {"POST/users", 1, 0, 0, false}, {"", 10, 2, 0, false}},
		{{"POST/users", 12, 0, 11, false}, {"GET/users/{id}", 8, 1, 0, false}, {"GET/health", 1, 1, 0, false}, {"", 21, 2, 11, false}},
		{{"POST/users", 12, 0, 12 / 3.25, false}, {"GET/users/{id}", 9, 2, 9 / 3.25, true}, {"GET/health", 1, 1, 1 / 3.25, true}, {"", 22, 3, 22 / 3.25, true}},
	}
	if diff := cmp.Diff(wantPages, pages); diff != "" {
		t.Error(diff)
	}
	for i, p := range c.pages {
		if closing := i == 3; p.Closing != closing || (len(p.Below) == 3) != closing {
			t.Errorf("page %d: closing %v, %d events below", i, p.Closing, len(p.Below))
		}
	}

	wantNotices := []string{
		`{"event":"total","about":{"time":"2024-03-05T14:04:09.250000000Z","event":"http_summary","interval_us":3250000,"count":22,"errors":3,"p50_us":1,"p90_us":6029,"p99_us":2000000,"max_us":2000000}}`,
	}
	if diff := cmp.Diff(wantNotices, c.notices[:1]); diff != "" {
		t.Error(diff)
	}
	for i, want := range []string{`"path":"/health"`, `"path":"/users/0049?x=/y"`, `"path":"/users/46?page=6"`} {
		if n := c.notices[i+1]; !strings.HasPrefix(n, `{"event":"slowest","about":{`) || !strings.Contains(n, want) {
			t.Errorf("slowest %d: %s", i, n)
		}
	}
	if len(c.notices) != 4 {
		t.Errorf("%d notices", len(c.notices))
	}
	// Rows are shown, but exchanges are what happened: who adds counts them.
	if s.stats.shown != 5 || s.stats.emitted != 0 {
		t.Errorf("shown %d, emitted %d", s.stats.shown, s.stats.emitted)
	}
}

func TestSummaryOfNothing(t *testing.T) {
	s, c := summarySession()
	u := newSummary(0)
	u.tell(s, 0, false)
	u.tell(s, 0, true)
	if len(c.rows) != 0 || len(c.pages) != 2 || len(c.pages[1].Below) != 0 || c.pages[1].Sum.(*event.HTTPSummary).Rate != 0 {
		t.Errorf("%d rows, pages %+v", len(c.rows), c.pages)
	}
	if want := []string{`{"event":"total","about":{"time":"2024-03-05T14:04:05.000000000Z","event":"http_summary","interval_us":0,"count":0,"errors":0}}`}; !slices.Equal(c.notices, want) {
		t.Error(c.notices)
	}
}

func TestSummaryCountsWhatHasNoRoomTogether(t *testing.T) {
	s, c := summarySession()
	u := newSummary(0)
	const extra = 997
	for i := range maxSummaryRows + extra {
		u.add(exchange("GET", "h", "/x"+strings.Repeat("a", i%7)+fmt.Sprint("b", i), 200, time.Millisecond))
	}
	u.add(exchange("GET", "h", "/xb0", 200, time.Millisecond)) // one that has a row
	u.tell(s, uint64(time.Second), false)
	u.add(exchange("PUT", "h", "/other", 500, time.Second))
	u.tell(s, uint64(2*time.Second), true)
	if len(u.rows) != maxSummaryRows || len(u.list) != maxSummaryRows+1 {
		t.Errorf("%d rows, %d in the list", len(u.rows), len(u.list))
	}
	if len(c.rows) != maxSummaryRows+2 {
		t.Fatalf("%d rows shown", len(c.rows))
	}
	for i, want := range map[int]event.HTTPSummary{
		0:                  {Count: extra, Answered: extra, Route: "(other)"},
		1:                  {Count: 2, Answered: 2, Method: "GET", Host: "h", Route: "/xb0"},
		maxSummaryRows + 1: {Count: 1, Answered: 1, Errors: 1, Route: "(other)"},
	} {
		got := c.rows[i]
		got = event.HTTPSummary{Count: got.Count, Answered: got.Answered, Errors: got.Errors, Method: got.Method, Host: got.Host, Route: got.Route}
		if got != want {
			t.Errorf("row %d: %+v, want %+v", i, got, want)
		}
	}
	if top := c.pages[1].rows[0]; top.Route != "(other)" || top.Count != extra+1 {
		t.Errorf("first in the closing table: %+v", top)
	}
	warnings := 0
	for _, n := range c.notices {
		if strings.Contains(n, `"event":"warning"`) && strings.Contains(n, "(other)") {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("told %d times: %q", warnings, c.notices)
	}
}

func TestSummaryStopsAtCount(t *testing.T) {
	s, c := summarySession()
	s.opts.Count = 2
	u := newSummary(0)
	for _, path := range []string{"/a", "/b", "/c"} {
		u.add(exchange("GET", "h", path, 200, time.Millisecond))
	}
	u.tell(s, uint64(time.Second), false)
	if len(c.rows) != 2 || s.stats.shown != 2 {
		t.Errorf("%d rows, %d shown", len(c.rows), s.stats.shown)
	}
	// What could not be shown is in the totals all the same.
	u.tell(s, uint64(2*time.Second), true)
	if sum := c.pages[1].Sum.(*event.HTTPSummary); sum.Count != 3 || len(c.rows) != 2 {
		t.Errorf("sum %d, %d rows", sum.Count, len(c.rows))
	}
}

func TestSummaryKeepsTheSlowest(t *testing.T) {
	s, c := summarySession()
	u := newSummary(0)
	path := []byte("/0")
	e := exchange("GET", "h", "", 200, 0)
	for i, ms := range []int{5, 1, 9, 7, 9, 2, 8} {
		path[1] = '0' + byte(i)
		e.Path = unsafe.String(&path[0], len(path)) // valid as long as the event
		e.Latency = time.Duration(ms) * time.Millisecond
		u.add(e)
	}
	path[1] = 'x'
	u.tell(s, 1, true)
	var got []string
	for _, e := range c.pages[0].Below {
		h := e.(*event.HTTP)
		got = append(got, h.Path+" "+h.Latency.String())
	}
	if want := []string{"/2 9ms", "/4 9ms", "/6 8ms"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSummaryRowNames(t *testing.T) {
	long := strings.Repeat("a", 5000)
	for _, c := range []struct {
		name                string
		method, host, path  string
		cut                 bool
		wantMethod, wantTop string // its beginning
		wantRoute           string
	}{
		{name: "numbers", method: "GET", host: "h", path: "/users/42", wantMethod: "GET", wantTop: "h", wantRoute: "/users/{id}"},
		{name: "UUIDs", method: "GET", host: "h", path: "/o/9f0c1d2e-0b1a-4c5d-8e7f-001122334455/x", wantMethod: "GET", wantTop: "h", wantRoute: "/o/{uuid}/x"},
		{name: "hexadecimal digits", method: "GET", host: "h", path: "/commit/0a1b2c3d4e5f", wantMethod: "GET", wantTop: "h", wantRoute: "/commit/{hex}"},
		{name: "a query", method: "GET", host: "h", path: "/search?q=/users/42", wantMethod: "GET", wantTop: "h", wantRoute: "/search"},
		{name: "case counts in a path, not in a host", method: "get", host: "H.Example:8080", path: "/A", wantMethod: "get", wantTop: "h.example:8080", wantRoute: "/A"},
		{name: "a whole URL", method: "GET", host: "h", path: "http://h/users/42", wantMethod: "GET", wantTop: "h", wantRoute: "/users/{id}"},
		{name: "all", method: "OPTIONS", host: "h", path: "*", wantMethod: "OPTIONS", wantTop: "h", wantRoute: "*"},
		{name: "no path", method: "GET", path: "", wantMethod: "GET", wantRoute: "/"},
		{name: "a path that was cut in a segment", method: "GET", path: "/users/42/fri", cut: true, wantMethod: "GET", wantRoute: "/users/{id}/…"},
		{name: "a path that was cut in its query", method: "GET", path: "/users?fri", cut: true, wantMethod: "GET", wantRoute: "/users"},
		{name: "a path that was cut at once", method: "GET", path: "", cut: true, wantMethod: "GET", wantRoute: "/…"},
		{name: "what is too long", method: long, host: long, path: long, wantMethod: long[:32] + "…", wantTop: long[:260] + "…", wantRoute: long[:1024] + "…"},
		{name: "what is too long, not cut in a character", host: strings.Repeat("a", 258) + "日本", path: "/", wantTop: strings.Repeat("a", 258) + "…", wantRoute: "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newSummary(0)
			e := exchange(c.method, c.host, c.path, 200, 1)
			e.PathTruncated = c.cut
			got := u.row(e).rowName
			if want := (rowName{c.wantMethod, c.wantTop, c.wantRoute}); got != want {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
}

// TestSummaryAllocatesNothing for an exchange of a known row, in all intervals.
func TestSummaryAllocatesNothing(t *testing.T) {
	s, c := summarySession()
	u := newSummary(0)
	for i := range 4 {
		u.add(exchange("GET", "h", "/slow", 200, time.Hour+time.Duration(i)))
	}
	list := someExchanges(97)
	for range 2 {
		for _, e := range list {
			u.add(e)
		}
		u.tell(s, 1, false)
		*c = summaryRows{}
	}
	i := 0
	if n := testing.AllocsPerRun(9700, func() {
		u.add(list[i%len(list)])
		i++
	}); n != 0 {
		t.Errorf("%v allocations an exchange", n)
	}
}

// someExchanges are exchanges of seven routes, with latencies as they occur.
func someExchanges(n int) []*event.HTTP {
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]*event.HTTP, n)
	for i := range list {
		path := fmt.Sprintf("/api/v1/things%d/%d/parts?q=%d", i%7, i, i)
		list[i] = exchange("GET", "shop.example:8080", path, 200, time.Duration(math.Exp(random.NormFloat64())*1e6))
	}
	return list
}

func BenchmarkSummaryAdd(b *testing.B) {
	s, c := summarySession()
	u := newSummary(0)
	list := someExchanges(4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		u.add(list[i%len(list)])
		if i++; i%50000 == 0 { // a second's
			u.tell(s, uint64(i), false)
			*c = summaryRows{}
		}
	}
}

// BenchmarkSummaryTell is a second of many routes, all of them in use.
func BenchmarkSummaryTell(b *testing.B) {
	for _, rows := range []int{10, maxSummaryRows} {
		b.Run(fmt.Sprint(rows, " rows"), func(b *testing.B) {
			s, _ := summarySession()
			s.sink = &idleSink{}
			u := newSummary(0)
			list := make([]*event.HTTP, rows)
			for i := range list {
				list[i] = exchange("GET", "h", fmt.Sprint("/x", i), 200, time.Duration(i)*time.Microsecond)
			}
			b.ReportAllocs()
			now := uint64(0)
			for b.Loop() {
				b.StopTimer()
				for _, e := range list {
					u.add(e)
				}
				b.StartTimer()
				now += uint64(summaryInterval)
				u.tell(s, now, false)
			}
		})
	}
}

// idleSink shows nothing, a screen's rows of a page apart.
type idleSink struct{ summaryRows }

func (*idleSink) Event(event.Event) bool { return true }

func (*idleSink) Page(p *event.Page) {
	n := 0
	for range p.Rows {
		if n++; n == 60 {
			return
		}
	}
}

// TestSummaryMemoryIsBounded: a million exchanges of as many routes as there can
// be, with long names, and of ten routes with latencies of all kinds.
func TestSummaryMemoryIsBounded(t *testing.T) {
	for _, c := range []struct {
		name  string
		rows  int
		limit uint64
	}{
		{"few rows", 10, 1 << 20},
		{"all rows", maxSummaryRows, 40 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			paths := make([]string, c.rows)
			for i := range paths {
				paths[i] = fmt.Sprintf("/api/v1/%s/x%d", strings.Repeat("segment/", 9), i)
			}
			heap := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			s, _ := summarySession()
			s.sink = &idleSink{}
			random := rand.New(rand.NewPCG(1, 2))
			before := heap()
			u := newSummary(0)
			e := exchange("GET", "shop.example", "", 200, 0)
			for i := range 1000000 {
				e.Path = paths[i%len(paths)]
				e.Latency = time.Duration(math.Exp(random.NormFloat64()) * 1e6)
				u.add(e)
				if i%50000 == 0 {
					u.tell(s, uint64(i)*1000, false)
				}
			}
			u.tell(s, 1e9, false)
			took := heap() - min(before, heap())
			t.Logf("%d KiB", took>>10)
			if took > c.limit {
				t.Errorf("%d bytes", took)
			}
			if u.all.count != 1000000 || len(u.list) != c.rows {
				t.Errorf("%d exchanges, %d rows", u.all.count, len(u.list))
			}
		})
	}
}

// FuzzSummary: whatever strangers send, every exchange is counted once, under a
// name of bounded length, and the query does not matter; what is told is JSON.
func FuzzSummary(f *testing.F) {
	f.Add("GET", "example.com", "/users/42?x=1", false, 200, int64(time.Millisecond))
	f.Add("GET\x1b[2J", "\xff\xfe", "/\x1b]0;x\x07/\u202e", true, 503, int64(-1))
	f.Add("", "", "", false, 0, int64(math.MaxInt64))
	f.Add("GET", "h", "//;a/..", true, 99999, int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, method, host, path string, cut bool, status int, latency int64) {
		s, c := summarySession()
		u := newSummary(0)
		u.maxRows = 2
		e := exchange(method, host, path, status, time.Duration(latency))
		e.PathTruncated = cut
		row := u.row(e)
		if !cut && u.row(exchange(method, host, path+"?query", 200, 0)) != row {
			t.Errorf("%q is not the route of %q with a query", row.route, path)
		}
		if len(row.method) > maxMethodName+3 || len(row.host) > maxHostName+3 || len(row.route) > maxRouteName+3 {
			t.Errorf("a name is too long: %q", row.rowName)
		}
		for range 2 {
			for _, e := range []*event.HTTP{e, exchange("GET", "h", "/", 200, 1), exchange("PUT", "h", "/", 200, 1), exchange("PUT", "g", "/", 200, 1)} {
				u.add(e)
			}
			u.tell(s, 1, false)
		}
		u.tell(s, 2, true)
		var sum uint64
		for _, r := range c.rows {
			sum += r.Count
			if r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.Max {
				t.Errorf("percentiles: %+v", r)
			}
		}
		if total := c.pages[2].Sum.(*event.HTTPSummary); sum != 8 || total.Count != 8 {
			t.Errorf("%d in rows, %d in the sum", sum, total.Count)
		}
		for line := range bytes.Lines(c.lines) {
			if !json.Valid(line) || !utf8.Valid(line) || bytes.ContainsAny(line, "\x1b\x07") {
				t.Errorf("%q", line)
			}
		}
	})
}
