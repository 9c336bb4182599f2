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

// trafficBy are the views of traffic.
var trafficBy = []string{"process", "connection", "peer", "container", "pod"}

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
		case "process":
			t.Process = p
		case "connection":
			t.Process, t.Connection = p, c
		case "peer":
			if t.Peer = c.Dst.Addr(); c.Role == event.RoleServer {
				t.Peer = c.Src.Addr()
			}
		case "container":
			t.Place = p.Place
		case "pod":
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

func trafficOptions(by string, opts TableOptions) PageOptions {
	name := "traffic"
	if by != "process" {
		name += " by " + by
	}
	view := Views[name]
	opts.Mark = view.Mark
	if opts.Columns == nil {
		opts.Columns = Defaults(view.Columns)
	}
	return PageOptions{TableOptions: opts, Title: view.Title, Below: view.Below}
}

// TestScreensOfTraffic: the live screens, and below each what stays of it.
func TestScreensOfTraffic(t *testing.T) {
	for _, width := range []int{20, 40, 60, 80, 120} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			var all []byte
			for _, by := range trafficBy {
				tty := terminal(t, width, 24)
				s := newScreen(t, width, 24)
				live := NewLive(trafficOptions(by, TableOptions{Terminal: tty}))
				s.write(live.AppendPage(nil, trafficPageOf(by, false)))
				all = fmt.Appendf(all, "by %s\n%s\n\n", by, strings.TrimRight(strings.Join(s.lines(), "\n"), "\n"))
				s.write(live.AppendPage(nil, trafficPageOf(by, true)))
				all = fmt.Appendf(all, "%s\n\n", strings.Join(s.main, "\n"))
			}
			checkGolden(t, fmt.Sprintf("traffic-%d.txt", width), all)
			for line := range bytes.Lines(all) {
				if n := textWidth(bytes.TrimSuffix(line, []byte("\n"))); n > width {
					t.Errorf("%d cells: %s", n, line)
				}
			}
		})
	}
}

// TestLinesOfTraffic: what a pipe gets, with all columns.
func TestLinesOfTraffic(t *testing.T) {
	var all []byte
	for _, by := range trafficBy {
		opts := trafficOptions(by, TableOptions{})
		opts.Columns = Views["traffic"].Columns
		if by != "process" {
			opts.Columns = Views["traffic by "+by].Columns
		}
		lines := NewLines(opts)
		all = fmt.Appendf(all, "by %s\n", by)
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

// Rows that move nothing now stand back.
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
