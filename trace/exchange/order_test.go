package exchange

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// routes are the routes of rows, in their order.
func routes(rows []event.HTTPSummary) (list []string) {
	for _, s := range rows {
		list = append(list, s.Route)
	}
	return list
}

// One slow route among 40 that are busier stands on top, and is the only one called slow.
func TestTheOneSlowRouteStandsOnTop(t *testing.T) {
	c := &screen{}
	u := NewSummary(0)
	for i := range 40 {
		for range 19 {
			u.Add(answered("GET", "shop.example", fmt.Sprintf("/busy%02d/x", i), 200, 2*time.Millisecond)) // 3ms in all
		}
	}
	for range 3 {
		u.Add(answered("GET", "shop.example", "/slow", 200, 384*time.Millisecond)) // 385ms in all
	}
	tell(u, c, uint64(time.Second), false)
	for what, rows := range map[string][]event.HTTPSummary{"rows": c.rows, "page": c.pages[0].rows} {
		if len(rows) != 41 {
			t.Fatalf("%s: %d, want 41", what, len(rows))
		}
		top := rows[0]
		if top.Route != "/slow" || top.Count != 3 || top.Total != 1155*time.Millisecond || top.Spent != top.Total {
			t.Errorf("%s: first is %s: %d, %v", what, top.Route, top.Count, top.Total)
		}
		for _, s := range rows {
			if s.Slow != (s.Route == "/slow") {
				t.Errorf("%s: %s slow: %v", what, s.Route, s.Slow)
			}
		}
	}
}

// A route that only hangs stands on top of one that took less time.
func TestTheRouteThatHangsStandsOnTop(t *testing.T) {
	c := &screen{}
	u := NewSummary(0)
	u.Add(answered("GET", "h", "/answers", 200, 4*time.Second))
	for _, age := range []time.Duration{2 * time.Second, 3 * time.Second} {
		u.Wait(&event.HTTP{Common: event.Common{Kind: event.KindHTTPStuck}, Method: "GET", Host: "h", Path: "/hangs", Age: age})
	}
	tell(u, c, uint64(time.Second), false)
	if got := routes(c.pages[0].rows); !slices.Equal(got, []string{"/hangs", "/answers"}) {
		t.Error(got)
	}
	if top := c.pages[0].rows[0]; top.Total != 0 || top.Spent != 5*time.Second || top.Waiting != 2 || top.Oldest != 3*time.Second {
		t.Errorf("%+v", top)
	}
	tell(u, c, 2*uint64(time.Second), false) // it is over
	if got := routes(c.pages[1].rows); !slices.Equal(got, []string{"/answers", "/hangs"}) {
		t.Error(got)
	}
}

// Each key orders the rows of an interval and those of the whole run, and the order can
// change while a page is shown.
func TestOrdersOfASummary(t *testing.T) {
	key := ""
	c := &screen{}
	u := NewSummary(0)
	u.Key = func() string { return key }
	add := func(path string, n, status int, latency, began time.Duration) {
		for range n {
			e := answered("GET", "h", path, status, latency)
			e.Time = epoch().Add(began)
			u.Add(e)
		}
	}
	wait := func(path string, n int, age time.Duration) {
		for range n {
			u.Wait(&event.HTTP{Common: event.Common{Kind: event.KindHTTPStuck}, Method: "GET", Host: "h", Path: path, Age: age})
		}
	}
	//      route    n  status latency                begins
	add("/many", 11, 200, 1*time.Millisecond, 3*time.Second)
	add("/fails", 2, 503, 2*time.Millisecond, 4*time.Second)
	add("/tail", 5, 200, 3*time.Millisecond, 1*time.Second)
	add("/tail", 1, 200, 9*time.Second, 0)
	add("/even", 2, 200, 5*time.Second, 0)
	add("/missing", 1, 404, 1*time.Millisecond, 20*time.Second)
	wait("/waits", 3, 700*time.Millisecond)
	tell(u, c, uint64(time.Second), false)
	add("/fails", 12, 200, 1*time.Millisecond, 5*time.Second)
	wait("/waits", 3, 1700*time.Millisecond)
	tell(u, c, 2*uint64(time.Second), false)

	add("/new", 1, 200, time.Hour, time.Hour) // of the next page
	for k, want := range map[string][]string{
		"total":   {"/even", "/tail", "/waits", "/fails", "/many", "/missing"},
		"count":   {"/fails", "/many", "/tail", "/even", "/missing", "/waits"},
		"rate":    {"/fails", "/even", "/tail", "/waits", "/many", "/missing"},
		"errors":  {"/fails", "/even", "/tail", "/waits", "/many", "/missing"},
		"p50":     {"/even", "/tail", "/fails", "/many", "/missing", "/waits"},
		"p99":     {"/tail", "/even", "/fails", "/many", "/missing", "/waits"},
		"max":     {"/tail", "/even", "/fails", "/many", "/missing", "/waits"},
		"waiting": {"/waits", "/even", "/tail", "/fails", "/many", "/missing"},
		"last":    {"/missing", "/tail", "/fails", "/even", "/many", "/waits"},
	} {
		key = k
		u.Reorder(c)
		page := c.pages[len(c.pages)-1]
		if diff := cmp.Diff(want, routes(page.rows)); diff != "" {
			t.Errorf("%s: %s", k, diff)
		}
		if page.Total != 6 || page.Closing || page.Elapsed != 2*time.Second {
			t.Errorf("%s: %+v", k, page.Page)
		}
		for _, s := range page.rows {
			if want := map[string]float64{"/fails": 12}[s.Route]; s.Rate != want {
				t.Errorf("%s: rate of %s is %v, want %v", k, s.Route, s.Rate, want)
			}
		}
	}
	if len(SummaryKeys) != 9 {
		t.Errorf("%d keys, of which 9 are tested", len(SummaryKeys))
	}

	// The rows of an interval have that order, too.
	key = "count"
	before := len(c.rows)
	add("/many", 1, 200, time.Second, time.Hour)
	add("/fails", 3, 200, 1*time.Millisecond, time.Hour)
	add("/tail", 2, 200, 1*time.Millisecond, time.Hour)
	tell(u, c, 3*uint64(time.Second), true)
	if got, want := routes(c.rows[before:]), []string{"/fails", "/tail", "/new", "/many"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := c.pages[len(c.pages)-1].rows[0].Route; got != "/fails" {
		t.Errorf("first in the closing table: %s", got)
	}
}

// What was answered badly, and not at all, is counted apart; each once.
func TestSummaryCountsStatuses(t *testing.T) {
	c := &screen{}
	u := NewSummary(0)
	for status, n := range map[int]int{200: 2, 302: 3, 400: 5, 499: 7, 500: 11, 599: 13, 0: 17} {
		for range n {
			u.Add(answered("GET", "h", "/", status, time.Millisecond))
		}
	}
	gone := answered("GET", "h", "/", 503, 0)
	gone.Error, gone.ClosedBy = "closed", "client"
	for range 19 {
		u.Add(gone) // the server's answer was never read
	}
	for range 23 {
		u.Add(unanswered("GET", "h", "/", "reset", time.Millisecond))
	}
	tell(u, c, 1, true)
	got := c.rows[0]
	if got.Count != 100 || got.Status4xx != 12 || got.Status5xx != 24 || got.Unanswered != 42 || got.Errors != 66 {
		t.Errorf("%+v", got)
	}
}

// The server's latencies are of what was seen there: its part where both ends were.
func TestSummaryOfTheServersPart(t *testing.T) {
	c := &screen{}
	u := NewSummary(0)
	add := func(path, role string, latency, server time.Duration) {
		e := answered("GET", "h", path, 200, latency)
		e.Role, e.ServerLatency = role, server
		u.Add(e)
	}
	for i := range 100 {
		add("/both", event.RoleBoth, 384*time.Millisecond, time.Duration(i+1)*time.Millisecond)
	}
	add("/both", event.RoleBoth, 384*time.Millisecond, 0) // not known
	add("/client", event.RoleClient, time.Second, 0)
	add("/server", event.RoleServer, 2*time.Second, 0)
	tell(u, c, 1, true)
	within := func(got, want time.Duration) bool { return got >= want && got <= want+want/100 }
	for _, s := range c.pages[0].rows {
		switch s.Route {
		case "/both":
			if !s.Both || s.Count != 101 || s.ServerAnswered != 100 || !within(s.P50, 384*time.Millisecond) || !within(s.ServerP50, 50*time.Millisecond) || !within(s.ServerP99, 99*time.Millisecond) {
				t.Errorf("%+v", s)
			}
		case "/client":
			if s.Both || s.ServerAnswered != 0 || s.ServerP50 != 0 || s.ServerP99 != 0 {
				t.Errorf("%+v", s)
			}
		case "/server":
			if s.Both || s.ServerAnswered != 1 || s.ServerP50 != 2*time.Second || s.ServerP99 != 2*time.Second {
				t.Errorf("%+v", s)
			}
		}
	}
	if sum := c.pages[0].Sum.(*event.HTTPSummary); sum.ServerAnswered != 101 || sum.Spread[12] != 0 || sum.Spread[13] != 101 || sum.Spread[15] != 2 {
		t.Errorf("%+v", sum)
	}
}

// A route is slow by what most of its answers took, now or in all.
func TestSlowRoutes(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name   string
		before int // answers of the route that took 1ms, in the interval before
		n      int // answers of this interval
		took   time.Duration
		want   bool
	}{
		{"one second", 0, 3, time.Second, true},
		{"a tenth of one, and ten times as long as others", 0, 3, 100 * ms, true},
		{"less than that", 0, 3, 99 * ms, false},
		{"only now", 1000, 3, 200 * ms, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &screen{}
			u := NewSummary(0)
			for range 1000 {
				u.Add(answered("GET", "h", "/others", 200, 9*ms))
			}
			for range c.before {
				u.Add(answered("GET", "h", "/route", 200, ms))
			}
			tell(u, s, 1, false)
			for range c.n {
				u.Add(answered("GET", "h", "/route", 200, c.took))
			}
			tell(u, s, 2, false)
			if row := s.rows[len(s.rows)-1]; row.Route != "/route" || row.Slow != c.want {
				t.Errorf("%s slow: %v", row.Route, row.Slow)
			}
			for _, row := range s.pages[1].rows {
				if row.Slow != (c.want && row.Route == "/route") {
					t.Errorf("on the page: %s slow: %v", row.Route, row.Slow)
				}
			}
		})
	}
}

// Rows that hardly differ keep their places while they are shown, and are in exact order
// in the closing table.
func TestRowsThatHardlyDifferKeepTheirPlaces(t *testing.T) {
	const ms = time.Millisecond
	c := &screen{}
	u := NewSummary(0)
	add := func(path string, took time.Duration) { u.Add(answered("GET", "h", path, 200, took-ms)) } // in all
	add("/a", 1000*ms)
	add("/b", 1002*ms)
	add("/c", 2000*ms)
	tell(u, c, uint64(time.Second), false)
	add("/b", 3*ms)
	tell(u, c, 2*uint64(time.Second), false)
	add("/b", 40*ms)
	tell(u, c, 3*uint64(time.Second), false)
	add("/a", 42*ms)
	tell(u, c, 4*uint64(time.Second), true)
	for i, want := range [][]string{{"/c", "/a", "/b"}, {"/c", "/a", "/b"}, {"/c", "/b", "/a"}, {"/c", "/b", "/a"}} {
		if got := routes(c.pages[i].rows); !slices.Equal(got, want) {
			t.Errorf("page %d: %v, want %v", i, got, want)
		}
	}
	if b, a := c.pages[3].rows[1], c.pages[3].rows[2]; b.Total != 1045*ms || a.Total != 1042*ms {
		t.Errorf("%v, %v", b.Total, a.Total)
	}
	for n, want := range map[int64]int64{0: 0, 1: 1, 63: 63, 64: 64, 65: 64, 127: 126, 1000: 992, 1<<62 + 1: 1 << 62} {
		if got := steady(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}
