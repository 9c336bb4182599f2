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
	if opts.Mark = view.Mark; opts.Columns == nil {
		opts.Columns = Defaults(view.Columns)
	}
	return PageOptions{TableOptions: opts, Title: view.Title}
}

func TestScreensOfTraffic(t *testing.T) {
	for _, by := range []string{"traffic", "traffic by program", "traffic by service", "traffic by connection", "traffic by peer", "traffic by container"} {
		for _, width := range []int{40, 60, 80, 120, 200} {
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

// Faint rows move nothing now; the closing table is about the whole run.
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

// trafficPageOf is a page with the usual and the hostile.
func trafficPageOf(by string, closing bool) *event.Page {
	type bytes struct{ tx, rx, allTx, allRx uint64 }
	v4, v6 := netip.MustParseAddrPort("10.0.0.7:443"), netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535")
	evil := "\x1b[2J\x1b]0;own\n\u202e"
	place := event.Place{
		Container: "app", ContainerID: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		Pod: "web-5b8c9d7f6-x2x4z", Namespace: "shop", PodUID: "6b1f",
	}
	rows := []*event.Traffic{}
	sum := &event.Traffic{Common: event.Common{Time: when, Kind: event.KindTraffic}, Interval: time.Second}
	add := func(p event.Process, c event.Connection, proto string, m bytes) {
		t := &event.Traffic{
			Common: event.Common{Time: when, Kind: event.KindTraffic}, Interval: time.Second, Proto: proto,
			Tx: m.tx, Rx: m.rx, TotalTx: m.allTx, TotalRx: m.allRx,
		}
		switch by {
		case "traffic":
			t.Process = p
		case "traffic by connection":
			t.Process, t.Connection = p, c
		case "traffic by peer":
			if t.Peer = c.Dst.Addr(); c.Role == event.RoleServer {
				t.Peer = c.Src.Addr()
			}
		case "traffic by container":
			t.Place = p.Place
		case "traffic by pod":
			t.Place = event.Place{Pod: p.Pod, Namespace: p.Namespace, PodUID: p.PodUID}
		}
		rows = append(rows, t)
		sum.Tx, sum.Rx, sum.TotalTx, sum.TotalRx = sum.Tx+m.tx, sum.Rx+m.rx, sum.TotalTx+m.allTx, sum.TotalRx+m.allRx
	}
	client := func(src, dst netip.AddrPort) event.Connection {
		return event.Connection{Role: event.RoleClient, Src: src, Dst: dst}
	}
	add(event.Process{PID: 4242, Comm: "nginx", Place: place}, event.Connection{Role: event.RoleServer, Src: v6, Dst: v4}, event.ProtoTCP, bytes{123456789, 1009, 1 << 40, 1 << 20})
	add(event.Process{PID: 4194303, Comm: "a-comm-of-15-by"}, client(v6, v6), event.ProtoTCP, bytes{1009, 5003, 20011, 1<<30 - 1})
	add(event.Process{PID: 53, Comm: "dnsmasq"}, client(v4, netip.AddrPort{}), event.ProtoUDP, bytes{0, 17, 40, 17})
	add(event.Process{PID: 7, Comm: evil, Place: event.Place{Container: evil, Pod: evil, Namespace: evil}}, client(v4, v4), "", bytes{0, 0, 1, 0})
	for _, t := range rows {
		part, whole := t.Tx+t.Rx, sum.Tx+sum.Rx
		if closing {
			part, whole = t.TotalTx+t.TotalRx, sum.TotalTx+sum.TotalRx
			t.Tx, t.Rx, t.Interval = 0, 0, 0
		}
		t.Part = float64(part) / float64(whole)
	}
	p := &event.Page{Interval: time.Second, Elapsed: 12340 * time.Millisecond, Closing: closing, Total: len(rows), Sum: sum}
	p.Rows = func(yield func(event.Event) bool) {
		for _, r := range rows {
			if !yield(r) {
				return
			}
		}
	}
	return p
}

// TestLinesOfTraffic shows the output to a pipe, with all columns.
func TestLinesOfTraffic(t *testing.T) {
	var all []byte
	for _, by := range []string{"traffic", "traffic by connection", "traffic by peer", "traffic by container", "traffic by pod"} {
		lines := NewLines(trafficOptions(by, TableOptions{Columns: Views[by].Columns}))
		all = fmt.Appendf(all, "%s\n", by)
		for e := range trafficPageOf(by, false).Rows {
			all = lines.AppendEvent(all, e)
		}
		all = lines.AppendPage(all, trafficPageOf(by, false))
		all = append(lines.AppendPage(all, trafficPageOf(by, true)), '\n')
	}
	checkGolden(t, "traffic-pipe.txt", all)
	if bytes.ContainsAny(all, "\x1b\x07\r") || bytes.Contains(all, []byte("\u202e")) {
		t.Error("a stranger's text reaches the terminal")
	}
	if bytes.Contains(all, []byte("…")) {
		t.Error("a cell is cut where there is no terminal")
	}
}

func TestMarksOfTraffic(t *testing.T) {
	for _, c := range []struct {
		name string
		row  event.Traffic
		want Mark
	}{
		{"it moves bytes", event.Traffic{Interval: time.Second, Rx: 1}, Usual},
		{"it is idle", event.Traffic{Interval: time.Second, TotalRx: 1}, Quiet},
		{"of a whole run", event.Traffic{TotalRx: 1}, Usual},
	} {
		if got := trafficMark(&c.row); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
