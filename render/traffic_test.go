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

// trafficPage is the page of the second n: most rows have moved something.
func trafficPage(n uint64, closing bool) *event.Page {
	var rows []event.Event
	sum := &event.Traffic{Interval: time.Second}
	for i := range uint64(19) {
		r := &event.Traffic{
			Common: event.Common{Time: when, Kind: event.KindTraffic, Process: event.Process{PID: uint32(4000 + 17*i), Comm: []string{"nginx", "postgres", "a-long-name-15c", "日本語", "\x1b[31mred"}[i%5]}},
			Connection: event.Connection{
				Role: event.RoleClient,
				Src:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), uint16(40000+i)), Dst: netip.MustParseAddrPort("[2001:db8:1234:5678::abcd]:5432"),
			},
			Peer: netip.MustParseAddr("2001:db8:1234:5678::abcd"), Proto: event.ProtoTCP, Interval: time.Second,
			Part: 0.4 / float64(i+1),
		}
		step := (19 - i) * (19 - i) * 9973
		r.TotalTx, r.TotalRx = step*n, step*n/7
		if i%4 != 3 {
			r.Tx, r.Rx = step+n%3*701, step/7+n%5*11
		}
		sum.Tx, sum.Rx, sum.TotalTx, sum.TotalRx = sum.Tx+r.Tx, sum.Rx+r.Rx, sum.TotalTx+r.TotalTx, sum.TotalRx+r.TotalRx
		rows = append(rows, r)
	}
	return &event.Page{
		Interval: time.Second, Elapsed: time.Duration(n) * time.Second, Closing: closing, Total: len(rows), Sum: sum,
		Rows: func(yield func(event.Event) bool) {
			for _, r := range rows {
				if !yield(r) {
					return
				}
			}
		},
	}
}

func trafficOptions(by string, opts TableOptions) PageOptions {
	view := Views[by]
	opts.Columns, opts.Mark = Defaults(view.Columns), view.Mark
	return PageOptions{TableOptions: opts, Title: view.Title}
}

func TestScreensOfTraffic(t *testing.T) {
	for _, by := range []string{"traffic", "traffic by connection", "traffic by peer", "traffic by container"} {
		for _, width := range []int{60, 80, 120, 200} {
			t.Run(fmt.Sprintf("%s, %d cells", by, width), func(t *testing.T) {
				s := newScreen(t, width, 24)
				live := NewLive(trafficOptions(by, TableOptions{Terminal: terminal(t, width, 24)}))
				s.write(live.AppendPage(nil, trafficPage(97, false)))
				b := []byte(strings.TrimRight(strings.Join(s.lines(), "\n"), "\n") + "\n\n")
				s.write(live.AppendPage(nil, trafficPage(97, true)))
				b = append(b, strings.Join(s.main, "\n")...)
				checkGolden(t, fmt.Sprintf("%s-%d.txt", strings.ReplaceAll(by, " ", "-"), width), append(b, '\n'))
				for line := range bytes.Lines(b) {
					if n := textWidth(bytes.TrimSuffix(line, []byte("\n"))); n > width {
						t.Errorf("%d cells: %s", n, line)
					}
				}
			})
		}
	}
}

// What stood still a moment ago is no less of the whole run.
func TestClosingTableIsNotFaint(t *testing.T) {
	opts := trafficOptions("traffic", TableOptions{Terminal: terminal(t, 80, 24), Color: true})
	live := NewLive(opts)
	if b := live.AppendPage(nil, trafficPage(1, false)); !bytes.Contains(b, []byte("\x1b[2m")) {
		t.Error("what stands still is not faint")
	}
	if b := live.AppendPage(nil, trafficPage(1, true)); bytes.Contains(b, []byte("\x1b[2m")) {
		t.Error("the closing table is faint")
	}
}

// A refresh over a slow line is of what has changed.
func TestLiveRefreshesWithFewBytes(t *testing.T) {
	for _, color := range []bool{false, true} {
		live := NewLive(trafficOptions("traffic", TableOptions{Terminal: terminal(t, 80, 24), Color: color}))
		first := len(live.AppendPage(nil, trafficPage(100, false)))
		if n := len(live.AppendPage(nil, trafficPage(100, false))); n > 0 {
			t.Errorf("nothing changed: %d bytes", n)
		}
		most := 0
		for second := uint64(101); second < 200; second++ {
			most = max(most, len(live.AppendPage(nil, trafficPage(second, false))))
		}
		t.Logf("colour %t: the first page has %d bytes, a refresh of 19 rows that all change at most %d", color, first, most)
		if most > first/2 {
			t.Errorf("colour %t: a refresh of %d bytes, of %d for all", color, most, first)
		}
	}
}
