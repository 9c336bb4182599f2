package render

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// connected is a connection of a program, by IPv4 or IPv6.
func connected(comm, src, dst string) *event.Connect {
	return &event.Connect{
		Common:     event.Common{Time: when, Kind: event.KindConnect, Process: event.Process{PID: 7, Comm: comm}},
		Connection: event.Connection{Role: event.RoleClient, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)},
		Latency:    840 * time.Microsecond,
	}
}

// The rows of a screenful decide how wide the columns of the next one are.
func TestColumnsAreAsWideAsTheLastRowsNeed(t *testing.T) {
	table := NewTable(TableOptions{Columns: Defaults(connColumns), Terminal: terminal(t, 120, 24)})
	short := connected("curl", "10.0.0.5:51234", "10.0.0.9:443")
	long := connected("a-name-of-15-by", "[2001:db8::1234:5678]:51234", "[2001:db8::9]:443")
	show := func(e event.Event, n int) (headers []string, last string) {
		for range n {
			for line := range strings.Lines(string(table.AppendEvent(nil, e))) {
				if last = strings.TrimSuffix(line, "\n"); strings.HasPrefix(last, "TIME") {
					headers = append(headers, last)
				}
			}
		}
		return headers, last
	}
	const (
		narrow = "TIME             PID COMM             SOURCE → DESTINATION  RESULT"
		wide   = "TIME             PID COMM                                 SOURCE → DESTINATION       RESULT"
	)
	for _, step := range []struct {
		event   event.Event
		rows    int
		headers []string
		last    string
	}{
		{short, 22, []string{narrow}, "15:04:05.067       7 curl     10.0.0.5:51234 → 10.0.0.9:443 connected in 840µs"},
		// Within a screenful columns grow, and stay.
		{short, 1, []string{narrow}, "15:04:05.067       7 curl     10.0.0.5:51234 → 10.0.0.9:443 connected in 840µs"},
		{long, 1, nil, "15:04:05.067       7 a-name-of-15-by [2001:db8::1234:5678]:51234 → [2001:db8::9]:443     connected in 840µs"},
		{short, 20, nil, "15:04:05.067       7 curl                         10.0.0.5:51234 → 10.0.0.9:443          connected in 840µs"},
		// What was wide once is remembered for a window and the one before.
		{short, 44, []string{wide, wide}, "15:04:05.067       7 curl                         10.0.0.5:51234 → 10.0.0.9:443      connected in 840µs"},
		{short, 22, []string{"TIME             PID COMM         SOURCE → DESTINATION  RESULT"}, "15:04:05.067       7 curl 10.0.0.5:51234 → 10.0.0.9:443 connected in 840µs"},
	} {
		headers, last := show(step.event, step.rows)
		if diff := cmp.Diff(step.headers, headers); diff != "" {
			t.Errorf("headers: %s", diff)
		}
		if diff := cmp.Diff(step.last, last); diff != "" {
			t.Errorf("last row: %s", diff)
		}
	}
}

// A live screen keeps its columns for a while when their text gets shorter.
func TestColumnsOfALiveScreenStayWhereTheyAre(t *testing.T) {
	page := func(peer string) *event.Page {
		row := &event.Traffic{Peer: netip.MustParseAddr(peer), Interval: time.Second, Tx: 1, TotalTx: 1}
		return &event.Page{Interval: time.Second, Elapsed: time.Second, Total: 1, Sum: row, Rows: func(yield func(event.Event) bool) { yield(row) }}
	}
	s := newScreen(t, 80, 24)
	live := NewLive(trafficOptions("traffic by peer", TableOptions{Terminal: terminal(t, 80, 24)}))
	at := func(peer string) int {
		s.write(live.AppendPage(nil, page(peer)))
		return strings.Index(s.lines()[1], "SENT/S")
	}
	first := at("192.0.2.1")
	grown := at("2001:db8:1234:5678::1")
	if first != 12 || grown != 24 {
		t.Errorf("SENT/S stands at %d, then at %d", first, grown)
	}
	moved := 0
	for n := range 3 * pageWindow {
		if now := at("192.0.2.1"); now != grown {
			grown, moved = now, moved+1
			if n < pageWindow-3 {
				t.Errorf("moved at page %d", n)
			}
		}
	}
	if grown != first || moved != 1 {
		t.Errorf("SENT/S moved %d times, and stands at %d", moved, grown)
	}
}

// Between two headers the columns are the same ones, whatever comes.
func TestColumnsStayTheSameBelowAHeader(t *testing.T) {
	for width := 72; width <= 200; width += 7 {
		table := NewTable(TableOptions{Columns: Defaults(connColumns), Terminal: terminal(t, width, 24)})
		for i, e := range connEvents() {
			before := Names(table.columns)
			header := strings.Contains(string(table.AppendEvent(nil, e)), "RESULT") // which is in all of them
			if now := Names(table.columns); i > 0 && !header && strings.Join(before, " ") != strings.Join(now, " ") {
				t.Errorf("%d cells, row %d: %s became %s", width, i, before, now)
			}
		}
	}
}
