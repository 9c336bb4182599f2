package conn

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
)

// sums are the pages and rows of a summary, as text.
type sums struct {
	rows []string
	page []string
}

func (s *sums) Name() string            { return "sums" }
func (s *sums) Flush() error            { return nil }
func (s *sums) Broken() <-chan struct{} { return nil }
func (s *sums) Close() (uint64, error)  { return 0, nil }
func (s *sums) Event(e event.Event) bool {
	s.rows = append(s.rows, summed(e))
	return true
}

func (s *sums) Page(p *event.Page) {
	s.page = nil
	for e := range p.Rows {
		s.page = append(s.page, summed(e))
	}
}

// summed is a row but for what depends on the clock.
func summed(e event.Event) string {
	c := e.(*event.ConnSummary)
	text := fmt.Sprintf("%d %s %s %s %d", c.PID, c.Role, c.Dst, c.Result, c.Count)
	if c.Answered > 0 {
		text += fmt.Sprintf(", %s to %s", c.P50.Round(time.Millisecond/10), c.Max) // P50 is up to 1 % too high
	}
	if c.Tx+c.Rx > 0 {
		text += fmt.Sprintf(", %d/%d", c.Tx, c.Rx)
	}
	return strings.ReplaceAll(text, "invalid AddrPort", "-")
}

func TestEachConnectionCountsOnceUnderTheLastThatIsKnown(t *testing.T) {
	client := event.Connection{Role: event.RoleClient, Src: netip.MustParseAddrPort("10.0.0.5:1"), Dst: netip.MustParseAddrPort("10.0.0.9:80")}
	server := event.Connection{Role: event.RoleServer, Src: netip.MustParseAddrPort("10.0.0.5:1"), Dst: netip.MustParseAddrPort("10.0.0.9:80")}
	head := event.Common{Time: time.Unix(1000, 0), Process: event.Process{PID: 7, Comm: "x"}}
	shown := &sums{}
	x := offline(shown)
	s := newSummary(0)
	tell := func(last bool) {
		shown.rows = nil
		s.tell(x.host, 1e9, time.Unix(1001, 0), last)
	}
	check := func(what string, got, want []string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	const ms = time.Millisecond
	connect := func(n uint64, latency time.Duration) {
		s.add(&event.Connect{Common: head, Connection: client, Latency: latency}, wait{n, n})
	}
	closed := func(n uint64, c event.Connection, reason string) {
		s.add(&event.Close{Common: head, Connection: c, Reason: reason, Tx: 10, Rx: 20}, wait{n, n})
	}
	connect(1, 2*ms)
	connect(2, 2*ms)
	connect(3, 2*ms)
	closed(1, client, event.ReasonClosed)
	closed(2, client, event.ReasonReset)
	s.add(&event.ConnectStuck{Common: head, Connection: client}, wait{4, 4})
	s.add(&event.ConnectStuck{Common: head, Connection: client}, wait{5, 5})
	s.add(&event.ConnectFailed{Common: head, Connection: client, Error: "ECONNREFUSED", Latency: ms}, wait{6, 6})
	s.add(&event.ConnectFailed{Common: head, Connection: client, Error: "ECANCELED", Latency: 9 * ms}, wait{5, 5})
	s.add(&event.Accept{Common: head, Connection: server}, wait{7, 7})
	s.add(&event.Open{Common: head, Connection: server}, wait{8, 0})
	s.add(&event.Open{Common: head, Connection: server, Accepted: true}, wait{9, 0})
	s.add(&event.Close{Common: head, Connection: client, Reason: event.ReasonTimeout, OpenBefore: true, Tx: 1}, wait{10, 0})
	tell(false)
	first := []string{
		"7 server - accepted 2",
		"7 client 10.0.0.9:80 connected 2, 2ms to 2ms, 10/20",
		"7 client 10.0.0.9:80 ECANCELED 1, 9ms to 9ms",
		"7 client 10.0.0.9:80 ECONNREFUSED 1, 1ms to 1ms",
		"7 client 10.0.0.9:80 ETIMEDOUT 1, 1/0",
		"7 client 10.0.0.9:80 no answer 1",
		"7 server - not accepted 1",
		"7 client 10.0.0.9:80 reset 1, 2ms to 2ms, 10/20",
	}
	check("rows of the first interval", shown.rows, first)
	check("the page of it", shown.page, first)

	// What is known later moves connections; the row that they leave tells no more of them.
	connect(4, 3*ms)
	closed(3, client, event.ReasonReset)
	s.add(&event.Accept{Common: head, Connection: server}, wait{8, 8})
	closed(8, server, event.ReasonClosed)
	closed(7, server, event.ReasonClosed)
	tell(true)
	check("rows of the second interval", shown.rows, []string{
		"7 server - accepted 1, 20/40",
		"7 client 10.0.0.9:80 connected 1, 3ms to 3ms",
		"7 client 10.0.0.9:80 reset 1, 2ms to 2ms, 10/20",
	})
	check("the closing page", shown.page, []string{
		"7 server - accepted 3, 20/40",
		"7 client 10.0.0.9:80 connected 2, 2ms to 3ms, 10/20",
		"7 client 10.0.0.9:80 reset 2, 2ms to 2ms, 20/40",
		"7 client 10.0.0.9:80 ECANCELED 1, 9ms to 9ms",
		"7 client 10.0.0.9:80 ECONNREFUSED 1, 1ms to 1ms",
		"7 client 10.0.0.9:80 ETIMEDOUT 1, 1/0",
	})
}

// Strangers may call from as many processes, and be called at as many ports, as they like.
func TestSummaryOfConnectionsIsBounded(t *testing.T) {
	shown := &sums{}
	x := offline(shown)
	s := newSummary(0)
	for i := range uint64(maxSummaryRows + 5) {
		e := &event.ConnectFailed{Error: "ECONNREFUSED", Connection: event.Connection{Role: event.RoleClient, Dst: netip.MustParseAddrPort("10.0.0.9:80")}}
		e.PID = uint32(i + 1)
		s.add(e, wait{i, i})
	}
	s.tell(x.host, 1e9, time.Unix(1001, 0), true)
	if n := len(shown.page); n != maxSummaryRows+1 || shown.page[0] != "0  - (other) 5" {
		t.Errorf("%d rows, the first is %q", n, shown.page[0])
	}
}

// A storm of refused connects and of short connections is a row each, with exact counts;
// the account has every event.
func TestKernelConnectionsAreSummedUp(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	const n = 211
	w := work.Start(t, "manyFates", strconv.Itoa(n))
	w.Hear()
	r := kit.Start(t, "conn", "--summary", "--pid", strconv.Itoa(w.PID))
	w.Say("go")
	w.Hear()
	account := r.Stop()
	sum, intervals := map[string]float64{}, map[string]bool{}
	for _, e := range r.Of("conn_summary", w.PID) {
		sum[e["role"].(string)+" "+e["result"].(string)] += e["count"].(float64)
		intervals[e["time"].(string)] = true
		if e["result"] == "ECONNREFUSED" && (e["dst_addr"] != "127.0.0.1" || e["p50_us"] == nil || e["first"].(string) > e["last"].(string)) {
			t.Errorf("refused: %v", e)
		}
	}
	// One that is open at the end of an interval is in it, and in the one in which it is reset.
	for _, result := range []string{"client connected", "server accepted"} {
		if n := sum[result]; n > float64(len(intervals)-1) {
			t.Errorf("%s: %v, in %d intervals", result, n, len(intervals))
		}
		delete(sum, result)
	}
	if diff := cmp.Diff(map[string]float64{"client ECONNREFUSED": n, "client reset": n, "server reset": n}, sum); diff != "" {
		t.Error(diff)
	}
	if account["seen"] != 5.0*n || account["shown"] != 5.0*n || account["lost"] != 0.0 {
		t.Errorf("account: %v", account)
	}
}

func TestSummaryRowsAreSortedByKey(t *testing.T) {
	now := time.Unix(1000, 0)
	rows := map[string]*summaryRow{}
	for name, row := range map[string]*summaryRow{
		"many":    {rowName: rowName{comm: "many", result: event.ResultConnected}, last: now, pace: 1, all: tally{count: 9, max: time.Second}},
		"refused": {rowName: rowName{comm: "refused", result: "ECONNREFUSED"}, last: now.Add(-time.Second), pace: 5, all: tally{count: 2}},
		"slow":    {rowName: rowName{comm: "slow", result: event.ResultConnected}, last: now.Add(time.Second), pace: 0, all: tally{count: 1}},
	} {
		rows[name] = row
	}
	rows["slow"].all.count--
	rows["slow"].all.add(time.Minute)
	for key, want := range map[string][]string{
		"count": {"many", "refused", "slow"}, "rate": {"refused", "many", "slow"}, "errors": {"refused", "many", "slow"},
		"p50": {"slow", "many", "refused"}, "max": {"slow", "many", "refused"}, "last": {"slow", "many", "refused"},
	} {
		list := []*summaryRow{rows["slow"], rows["refused"], rows["many"]}
		slices.SortFunc(list, func(a, b *summaryRow) int { return compareRows(key, a, b, &a.all, &b.all) })
		var got []string
		for _, row := range list {
			got = append(got, row.comm)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %s: %v, want %v", key, got, want)
		}
	}
}
