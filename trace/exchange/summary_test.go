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

// A screen keeps what a summary has told.
type screen struct {
	rows    []event.HTTPSummary
	lines   []byte // the same as JSON
	shown   uint64 // exchanges in rows
	pages   []page
	notices []string
}

type page struct {
	event.Page
	rows []event.HTTPSummary
}

func (s *screen) ShowRow(e event.Event, n uint64) {
	s.rows = append(s.rows, *e.(*event.HTTPSummary))
	s.lines = append(event.AppendJSON(s.lines, e), '\n')
	s.shown += n
}

func (s *screen) Page(p *event.Page) {
	page := page{Page: *p}
	sum := *p.Sum.(*event.HTTPSummary)
	page.Sum, page.Below = &sum, slices.Clone(p.Below)
	for e := range p.Rows {
		page.rows = append(page.rows, *e.(*event.HTTPSummary))
	}
	s.pages = append(s.pages, page)
}

func (s *screen) Notice(n *event.Notice) { s.notices = append(s.notices, string(n.AppendJSON(nil))) }

// epoch is the wall time at which the boot clock of these tests is 0.
func epoch() time.Time { return time.Date(2024, 3, 5, 14, 4, 5, 0, time.UTC) }

// tell is Tell where the clocks agree.
func tell(u *Summary, to Screen, now uint64, last bool) {
	u.Tell(to, now, epoch().Add(time.Duration(now)), last)
}

func answered(method, host, path string, status int, latency time.Duration) *event.HTTP {
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
		"next to nothing": func(int) time.Duration { return 1 },
	} {
		for _, n := range []int{1, 2, 3, 7, 9, 10, 11, 99, 100, 101, 997, 19997} {
			t.Run(fmt.Sprintf("%d %s", n, name), func(t *testing.T) {
				c := &screen{}
				u := NewSummary(0)
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
						u.Add(answered("GET", "h", "/", 200, all[len(all)-1]))
					}
					tell(u, c, uint64(part+1)*uint64(time.Second), part == 2)
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
	c := &screen{}
	const second = uint64(time.Second)
	u := NewSummary(second)
	for i := range 7 {
		u.Add(answered("GET", "Shop.example", fmt.Sprintf("/users/%d?page=%d", 40+i, i), 200, time.Duration(i+1)*time.Millisecond))
	}
	u.Add(answered("GET", "shop.example", "/users/0049?x=/y", 503, 2*time.Second))
	u.Add(answered("POST", "shop.example", "/users", 201, 840*time.Microsecond))
	u.Add(unanswered("GET", "", "/health", "reset", 30*time.Second))
	stuck := unanswered("GET", "", "/health", "", 0)
	stuck.Kind = event.KindHTTPStuck
	u.Add(stuck)
	tell(u, c, 2*second, false)
	tell(u, c, 3*second, false)
	for range 11 {
		u.Add(answered("POST", "shop.example", "/users", 404, time.Microsecond))
	}
	tell(u, c, 4*second, false)
	u.Add(answered("GET", "shop.example", "/users/1", 500, 3*time.Millisecond))
	tell(u, c, 4*second+second/4, true)

	const interval = `,"event":"http_summary","interval_us":1000000,`
	want := `{"time":"2024-03-05T14:04:07.000000000Z"` + interval + `"method":"GET","route":"/health","count":1,"errors":1,"status_4xx":0,"status_5xx":0,"unanswered":1,"total_us":30000000}
{"time":"2024-03-05T14:04:07.000000000Z"` + interval + `"method":"GET","host":"shop.example","route":"/users/{id}","count":8,"errors":1,"status_4xx":0,"status_5xx":1,"unanswered":0,"p50_us":4014,"p90_us":2000000,"p99_us":2000000,"max_us":2000000,"total_us":2036000}
{"time":"2024-03-05T14:04:07.000000000Z"` + interval + `"method":"POST","host":"shop.example","route":"/users","count":1,"errors":0,"status_4xx":0,"status_5xx":0,"unanswered":0,"p50_us":840,"p90_us":840,"p99_us":840,"max_us":840,"total_us":1840}
{"time":"2024-03-05T14:04:09.000000000Z"` + interval + `"method":"POST","host":"shop.example","route":"/users","count":11,"errors":0,"status_4xx":11,"status_5xx":0,"unanswered":0,"p50_us":1,"p90_us":1,"p99_us":1,"max_us":1,"total_us":11011}
{"time":"2024-03-05T14:04:09.250000000Z","event":"http_summary","interval_us":250000,"method":"GET","host":"shop.example","route":"/users/{id}","count":1,"errors":1,"status_4xx":0,"status_5xx":1,"unanswered":0,"p50_us":3000,"p90_us":3000,"p99_us":3000,"max_us":3000,"total_us":4000}
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
		{{"GET/health", 1, 1, 1, true}, {"GET/users/{id}", 8, 1, 8, true}, {"POST/users", 1, 0, 1, false}, {"", 10, 2, 10, true}},
		{{"GET/health", 1, 1, 0, false}, {"GET/users/{id}", 8, 1, 0, false}, {"POST/users", 1, 0, 0, false}, {"", 10, 2, 0, false}},
		{{"GET/health", 1, 1, 0, false}, {"GET/users/{id}", 8, 1, 0, false}, {"POST/users", 12, 0, 11, false}, {"", 21, 2, 11, false}},
		{{"GET/health", 1, 1, 1 / 3.25, true}, {"GET/users/{id}", 9, 2, 9 / 3.25, true}, {"POST/users", 12, 0, 12 / 3.25, false}, {"", 22, 3, 22 / 3.25, true}},
	}
	if diff := cmp.Diff(wantPages, pages); diff != "" {
		t.Error(diff)
	}
	for i, p := range c.pages {
		if closing := i == 3; p.Closing != closing || len(p.Below) != 3 {
			t.Errorf("page %d: closing %v, %d events below", i, p.Closing, len(p.Below))
		}
	}

	wantNotices := []string{
		`{"event":"total","about":{"time":"2024-03-05T14:04:09.250000000Z","event":"http_summary","interval_us":3250000,"count":22,"errors":3,"status_4xx":11,"status_5xx":2,"unanswered":1,"p50_us":1,"p90_us":6029,"p99_us":2000000,"max_us":2000000,"total_us":32052851}}`,
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
	if c.shown != 22 {
		t.Errorf("%d exchanges in rows", c.shown)
	}
}

func TestSummaryOfNothing(t *testing.T) {
	c := &screen{}
	u := NewSummary(0)
	tell(u, c, 0, false)
	tell(u, c, 0, true)
	if len(c.rows) != 0 || len(c.pages) != 2 || len(c.pages[1].Below) != 0 || c.pages[1].Sum.(*event.HTTPSummary).Rate != 0 {
		t.Errorf("%d rows, pages %+v", len(c.rows), c.pages)
	}
	if want := []string{`{"event":"total","about":{"time":"2024-03-05T14:04:05.000000000Z","event":"http_summary","interval_us":0,"count":0,"errors":0,"status_4xx":0,"status_5xx":0,"unanswered":0,"total_us":0}}`}; !slices.Equal(c.notices, want) {
		t.Error(c.notices)
	}
}

func TestSummaryCountsWhatHasNoRoomTogether(t *testing.T) {
	c := &screen{}
	u := NewSummary(0)
	const extra = 997
	for i := range maxSummaryRows + extra {
		u.Add(answered("GET", "h", "/x"+strings.Repeat("a", i%7)+fmt.Sprint("b", i), 200, time.Millisecond))
	}
	u.Add(answered("GET", "h", "/xb0", 200, time.Millisecond)) // one that has a row
	tell(u, c, uint64(time.Second), false)
	u.Add(answered("PUT", "h", "/other", 500, time.Second))
	tell(u, c, uint64(2*time.Second), true)
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

func TestSummaryKeepsTheSlowest(t *testing.T) {
	c := &screen{}
	u := NewSummary(0)
	u.Locate = func(h *event.Common) { h.Pod = "shop" }
	path := []byte("/0")
	e := answered("GET", "h", "", 200, 0)
	for i, ms := range []int{5, 1, 9, 7, 9, 2, 8} {
		path[1] = '0' + byte(i)
		e.Path = unsafe.String(&path[0], len(path)) // valid as long as the event
		e.GRPCMessage = e.Path
		e.Latency = time.Duration(ms) * time.Millisecond
		u.Add(e)
	}
	path[1] = 'x'
	tell(u, c, 1, true)
	var got []string
	for _, e := range c.pages[0].Below {
		h := e.(*event.HTTP)
		got = append(got, h.Path+" "+h.Latency.String()+" "+h.Pod)
		if h.GRPCMessage != h.Path {
			t.Errorf("%s: its message is %q", h.Path, h.GRPCMessage)
		}
	}
	if e.Pod != "" {
		t.Error("what is not kept was located")
	}
	if want := []string{"/2 9ms shop", "/4 9ms shop", "/6 8ms shop"}; !slices.Equal(got, want) {
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
		{name: "a path that is not known", method: "GET", path: "", wantMethod: "GET", wantRoute: ""},
		{name: "nothing is known"},
		{name: "a path that was cut in a segment", method: "GET", path: "/users/42/fri", cut: true, wantMethod: "GET", wantRoute: "/users/{id}/…"},
		{name: "a path that was cut in its query", method: "GET", path: "/users?fri", cut: true, wantMethod: "GET", wantRoute: "/users"},
		{name: "a path that was cut at once", method: "GET", path: "", cut: true, wantMethod: "GET", wantRoute: "/…"},
		{name: "what is too long", method: long, host: long, path: long, wantMethod: long[:32] + "…", wantTop: long[:260] + "…", wantRoute: long[:1024] + "…"},
		{name: "what is too long, not cut in a character", host: strings.Repeat("a", 258) + "日本", path: "/", wantTop: strings.Repeat("a", 258) + "…", wantRoute: "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := NewSummary(0)
			e := answered(c.method, c.host, c.path, 200, 1)
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
	c := &screen{}
	u := NewSummary(0)
	for i := range 4 {
		u.Add(answered("GET", "h", "/slow", 200, time.Hour+time.Duration(i)))
	}
	list := someExchanges(97)
	for range 2 {
		for _, e := range list {
			u.Add(e)
		}
		tell(u, c, 1, false)
		*c = screen{}
	}
	i := 0
	if n := testing.AllocsPerRun(9700, func() {
		u.Add(list[i%len(list)])
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
		list[i] = answered("GET", "shop.example:8080", path, 200, time.Duration(math.Exp(random.NormFloat64())*1e6))
		list[i].Role, list[i].ServerLatency = event.RoleBoth, list[i].Latency/2
	}
	return list
}

func BenchmarkSummaryAdd(b *testing.B) {
	c := &screen{}
	u := NewSummary(0)
	list := someExchanges(4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		u.Add(list[i%len(list)])
		if i++; i%50000 == 0 { // a second's
			tell(u, c, uint64(i), false)
			*c = screen{}
		}
	}
}

// BenchmarkSummaryTell is a second of many routes, all of them in use.
func BenchmarkSummaryTell(b *testing.B) {
	for _, rows := range []int{10, maxSummaryRows} {
		b.Run(fmt.Sprint(rows, " rows"), func(b *testing.B) {
			c := &idle{}
			u := NewSummary(0)
			list := make([]*event.HTTP, rows)
			for i := range list {
				list[i] = answered("GET", "h", fmt.Sprint("/x", i), 200, time.Duration(i)*time.Microsecond)
			}
			b.ReportAllocs()
			now := uint64(0)
			for b.Loop() {
				b.StopTimer()
				for _, e := range list {
					u.Add(e)
				}
				b.StartTimer()
				now += uint64(SummaryInterval)
				tell(u, c, now, false)
			}
		})
	}
}

// idle shows nothing, a screen's rows of a page apart.
type idle struct{}

func (idle) ShowRow(event.Event, uint64) {}
func (idle) Notice(*event.Notice)        {}

func (idle) Page(p *event.Page) {
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
			to := &idle{}
			random := rand.New(rand.NewPCG(1, 2))
			before := heap()
			u := NewSummary(0)
			e := answered("GET", "shop.example", "", 200, 0)
			for i := range 1000000 {
				e.Path = paths[i%len(paths)]
				e.Latency = time.Duration(math.Exp(random.NormFloat64()) * 1e6)
				u.Add(e)
				if i%50000 == 0 {
					tell(u, to, uint64(i)*1000, false)
				}
			}
			tell(u, to, 1e9, false)
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
		c := &screen{}
		u := NewSummary(0)
		u.maxRows = 2
		e := answered(method, host, path, status, time.Duration(latency))
		e.PathTruncated = cut
		row := u.row(e)
		if !cut && path != "" && u.row(answered(method, host, path+"?query", 200, 0)) != row {
			t.Errorf("%q is not the route of %q with a query", row.route, path)
		}
		if len(row.method) > maxMethodName+3 || len(row.host) > maxHostName+3 || len(row.route) > maxRouteName+3 {
			t.Errorf("a name is too long: %q", row.rowName)
		}
		for range 2 {
			for _, e := range []*event.HTTP{e, answered("GET", "h", "/", 200, 1), answered("PUT", "h", "/", 200, 1), answered("PUT", "g", "/", 200, 1)} {
				u.Add(e)
			}
			tell(u, c, 1, false)
		}
		tell(u, c, 2, true)
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

// Requests that wait are in rows of their own or beside others, in no count, and only as long as they are told.
func TestSummaryOfWhatWaits(t *testing.T) {
	waits := func(path string, age time.Duration) *event.HTTP {
		return &event.HTTP{Common: event.Common{Kind: event.KindHTTPStuck}, Method: "GET", Host: "h", Path: path, Age: age}
	}
	c := &screen{}
	u := NewSummary(0)
	u.Add(answered("GET", "h", "/users/1", 200, time.Millisecond))
	u.Wait(waits("/users/2", 2*time.Second))
	u.Wait(waits("/hangs", 3*time.Second))
	u.Wait(waits("/hangs", 9*time.Second))
	tell(u, c, uint64(time.Second), false)
	u.Wait(waits("/hangs", 10*time.Second))
	tell(u, c, 2*uint64(time.Second), false)
	tell(u, c, 3*uint64(time.Second), true)
	type row struct {
		route          string
		count, waiting uint64
		oldest         time.Duration
	}
	of := func(list []event.HTTPSummary) (rows []row) {
		for _, s := range list {
			rows = append(rows, row{s.Route, s.Count, s.Waiting, s.Oldest})
		}
		return rows
	}
	check := func(what string, want, got []row) {
		t.Helper()
		if !slices.Equal(want, got) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	check("rows", []row{{"/hangs", 0, 2, 9 * time.Second}, {"/users/{id}", 1, 1, 2 * time.Second}, {"/hangs", 0, 1, 10 * time.Second}}, of(c.rows))
	check("first page", []row{{"/hangs", 0, 2, 9 * time.Second}, {"/users/{id}", 1, 1, 2 * time.Second}}, of(c.pages[0].rows))
	check("last page", []row{{"/users/{id}", 1, 0, 0}, {"/hangs", 0, 0, 0}}, of(c.pages[2].rows))
	for i, want := range []row{{"", 1, 3, 9 * time.Second}, {"", 1, 1, 10 * time.Second}, {"", 1, 0, 0}} {
		check(fmt.Sprint("sum of page ", i), []row{want}, of([]event.HTTPSummary{*c.pages[i].Sum.(*event.HTTPSummary)}))
	}
	if c.shown != 1 {
		t.Errorf("%d exchanges shown, want 1", c.shown)
	}
	if line := strings.Split(string(c.lines), "\n")[0]; !strings.Contains(line, `"count":0,"errors":0,"status_4xx":0,"status_5xx":0,"unanswered":0,"waiting":2,"oldest_us":9000000,"total_us":0}`) {
		t.Error(line)
	}
}

// Errors are what has no answer, 5xx, and what gRPC says of a fault of the server
// (UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS); a reset
// if it came before the answer. What is not known is none.
// Where the time went is summed up to the nanosecond, in each interval and in all.
func TestSummarySumsUpWhereTimeWent(t *testing.T) {
	u := NewSummary(0)
	s := &screen{}
	for i := range time.Duration(3) {
		e := answered("GET", "h", "/", 200, time.Second)
		e.AcceptWait, e.Queue, e.CPU, e.RunQueue, e.Blocked = 1+i, 10+i, 100+i, 1000+i, 10000+i
		u.Add(e)
	}
	u.Add(answered("GET", "h", "/", 200, time.Millisecond)) // not known
	tell(u, s, 1, false)
	e := answered("GET", "h", "/", 200, time.Second)
	e.Blocked = 7
	u.Add(e)
	tell(u, s, 2, true)
	var total event.Where
	for _, row := range s.pages[len(s.pages)-1].rows {
		total.Add(row.Where)
	}
	got := []event.Where{s.rows[0].Where, s.rows[len(s.rows)-1].Where, total}
	if diff := cmp.Diff([]event.Where{
		{AcceptWait: 6, Queue: 33, CPU: 303, RunQueue: 3003, Blocked: 30003},
		{Blocked: 7},
		{AcceptWait: 6, Queue: 33, CPU: 303, RunQueue: 3003, Blocked: 30010},
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSummaryErrors(t *testing.T) {
	h2 := func(change func(e *event.HTTP)) *event.HTTP {
		e := answered("POST", "h", "/a.B/C", 200, time.Millisecond)
		e.Version = "2"
		change(e)
		return e
	}
	grpc := func(status uint32) *event.HTTP {
		return h2(func(e *event.HTTP) { e.GRPC, e.GRPCStatus = true, status })
	}
	cases := map[string]struct {
		e         *event.HTTP
		errors    uint64
		latencies uint64
	}{
		"answered":                         {h2(func(*event.HTTP) {}), 0, 1},
		"5xx":                              {h2(func(e *event.HTTP) { e.Status = 502 }), 1, 1},
		"unanswered":                       {unanswered("GET", "h", "/", "closed", time.Second), 1, 0},
		"reset before the answer":          {h2(func(e *event.HTTP) { e.Status, e.Latency, e.Error, e.ResetCode = 0, 0, "reset", "CANCEL" }), 1, 0},
		"reset behind the answer's head":   {h2(func(e *event.HTTP) { e.Error, e.ResetCode = "reset", "CANCEL" }), 0, 1},
		"a status that is not known":       {h2(func(e *event.HTTP) { e.Status = 0 }), 0, 1},
		"one that the client did not read": {h2(func(e *event.HTTP) { e.Latency, e.Error = 0, "closed" }), 1, 0},
		"nor when it came":                 {h2(func(e *event.HTTP) { e.Status, e.Latency = 0, 0 }), 0, 0},
		"a status of gRPC beyond all":      {grpc(99), 0, 1},
	}
	for status := range uint32(17) {
		errors := uint64(0)
		if slices.Contains([]uint32{2, 4, 12, 13, 14, 15}, status) {
			errors = 1
		}
		cases[fmt.Sprint("gRPC ", status)] = struct {
			e                 *event.HTTP
			errors, latencies uint64
		}{grpc(status), errors, 1}
	}
	for name, c := range cases {
		u := NewSummary(0)
		u.Add(c.e)
		s := &screen{}
		tell(u, s, 1, true)
		if got := s.rows[0]; got.Count != 1 || got.Errors != c.errors || got.Answered != c.latencies {
			t.Errorf("%s: count %d, errors %d, latencies %d", name, got.Count, got.Errors, got.Answered)
		}
	}
}

// Names of gRPC stay whole, even if they look like numbers.
func TestRoutesOfGRPC(t *testing.T) {
	for _, c := range []struct {
		version, method, path string
		grpc                  bool
		want                  string
	}{
		{"2", "POST", "/helloworld.Greeter/SayHello", false, "/helloworld.Greeter/SayHello"},
		{"2", "POST", "/a.b.v1.Add/Feed2024", false, "/a.b.v1.Add/Feed2024"},
		{"2", "POST", "/deadbeef1.Svc/Get", false, "/deadbeef1.Svc/Get"},
		{"2", "POST", "/Cafe2024/Feed2024", true, "/Cafe2024/Feed2024"}, // its status says what it is
		{"2", "POST", "/a.B/42", false, "/a.B/{id}"},
		{"2", "POST", "/a.B/123E4567-e89b-12d3-a456-426614174000", false, "/a.B/{uuid}"},
		{"2", "POST", "/a.B/Feed2024?x=1", false, "/a.B/{hex}"},
		{"2", "POST", "/a.B/C/Feed2024", false, "/a.B/C/{hex}"},
		{"2", "POST", "/1.2/Feed2024", false, "/1.2/{hex}"},
		{"2", "POST", "/a./Feed2024", false, "/a./{hex}"},
		{"2", "POST", "/users/feed2024", false, "/users/{hex}"},
		{"2", "GET", "/a.B/Feed2024", false, "/a.B/{hex}"},
		{"1.1", "POST", "/a.B/Feed2024", false, "/a.B/{hex}"},
	} {
		u := NewSummary(0)
		e := answered(c.method, "h", c.path, 200, 1)
		e.Version, e.GRPC = c.version, c.grpc
		if got := u.row(e).route; got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, got, c.want)
		}
	}
}
