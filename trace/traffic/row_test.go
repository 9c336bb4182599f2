package traffic

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/session"
)

func TestRowsThatAreTooManyAreFolded(t *testing.T) {
	sink := record.New(t)
	x := offline(session.Options{}, sink)
	const n = maxRows + 17
	for i := range uint32(n) {
		x.add(&bpf.TrafficParty{Pid: i + 1}, event.Connection{}, socketID{}, event.ProtoTCP, 0, nil, moved{uint64(i) + 1, 1})
	}
	x.tell(0, false)
	if len(x.rows) != maxRows*3/4 {
		t.Errorf("%d rows are remembered", len(x.rows))
	}
	x.tell(0, true)
	page := sink.Closing()
	sum := page.Sum.(*event.Traffic)
	if sum.TotalTx != n*(n+1)/2 || sum.TotalRx != n || page.Total != n || len(page.Rows) != maxRows*3/4 {
		t.Errorf("%d rows, %d shown, sum %d %d", page.Total, len(page.Rows), sum.TotalTx, sum.TotalRx)
	}
	// The ones with the most stay, in their order.
	if page.Rows[0].Head().PID != n || page.Rows[1].Head().PID != n-1 {
		t.Errorf("first: %+v", page.Rows[:2])
	}
}

func TestRowsAreSortedAndCut(t *testing.T) {
	for sortBy, want := range map[string][]uint32{"tx": {1, 3}, "rx": {2, 3}, "total": {3, 2}} {
		sink := record.New(t)
		x := offline(session.Options{}, sink)
		x.sortBy, x.top = sortBy, 2
		for pid, m := range map[uint32]moved{1: {50, 0}, 2: {10, 60}, 3: {40, 45}} {
			x.add(&bpf.TrafficParty{Pid: pid}, event.Connection{}, socketID{}, event.ProtoTCP, 0, nil, m)
		}
		x.tell(0, true)
		for what, list := range map[string][]event.Event{"rows": sink.Events(), "the closing table": sink.Closing().Rows} {
			var got []uint32
			for _, e := range list {
				got = append(got, e.Head().PID)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s by %s: %s", what, sortBy, diff)
			}
		}
		if a := x.host.Ledger.Account(0); a.Seen != 3 || a.Shown != 2 || a.Filtered["top"] != 1 {
			t.Errorf("by %s: %+v", sortBy, a)
		}
	}
}

// What a filter leaves out is counted as it would have been shown: in rows.
func TestFilteredRowsAreCountedAsRows(t *testing.T) {
	wanted, other := bpf.TrafficParty{Pid: 1, Comm: [16]int8{'a'}}, bpf.TrafficParty{Pid: 2, Comm: [16]int8{'b'}}
	at := func(text string) event.Connection {
		return event.Connection{Role: event.RoleClient, Dst: netip.MustParseAddrPort(text)}
	}
	for by, want := range map[string]struct{ shown, filtered uint64 }{
		byProcess:    {2, 2},
		byConnection: {2, 6},
		byProgram:    {2, 2},
		byService:    {2, 0}, // the wanted program has moved bytes of the same one
		byPeer:       {2, 2}, // one peer is shown, as the wanted process has it, too
	} {
		t.Run(by, func(t *testing.T) {
			sink := record.New(t)
			x := offline(session.Options{Filter: session.Filter{Comms: []string{"a"}}}, sink)
			x.by = by
			for range 2 { // intervals
				x.add(&other, at("192.0.2.1:80"), socketID{1, 1}, event.ProtoTCP, 1, nil, moved{5, 5})
				x.add(&wanted, at("192.0.2.1:80"), socketID{2, 1}, event.ProtoTCP, 1, nil, moved{7, 0})
				x.add(&other, at("192.0.2.1:80"), socketID{3, 1}, event.ProtoTCP, 1, nil, moved{5, 5})
				x.add(&other, at("192.0.2.2:80"), socketID{}, event.ProtoUDP, 0, nil, moved{5, 5})
				x.tell(0, false)
			}
			a := x.host.Ledger.Account(0)
			if a.Shown != want.shown || a.Filtered["comm"] != want.filtered || a.Seen != a.Shown+a.Filtered["comm"] {
				t.Errorf("want %+v: %+v", want, a)
			}
			for _, e := range record.All[*event.Traffic](sink) {
				if e.Tx+e.Rx != 7 { // of a service it is the server that has received them
					t.Errorf("bytes of another: %+v", e)
				}
			}
		})
	}
}
