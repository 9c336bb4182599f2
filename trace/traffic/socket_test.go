package traffic

import (
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/session"
)

// What becomes of readings, in all orders in which they may come.
func TestEachByteIsGivenOnce(t *testing.T) {
	party := func(pid uint32) bpf.TrafficParty { return bpf.TrafficParty{Start: uint64(pid), Pid: pid} }
	reading := func(tx, rx uint64, f func(*bpf.TrafficTcp)) bpf.TrafficTcpRecord {
		r := bpf.TrafficTcpRecord{Socket: 1}
		r.Tcp.Tx, r.Tcp.Rx, r.Tcp.Wanted, r.Tcp.Role = tx, rx, 1, bpf.TrafficRoleClient
		r.Tcp.Owner = party(10)
		f(&r.Tcp)
		return r
	}
	sure := func(r *bpf.TrafficTcp) { r.Sure = 1 }
	shared := func(own uint64) func(*bpf.TrafficTcp) {
		return func(r *bpf.TrafficTcp) { r.Sure, r.Shared, r.OwnTx = 1, 1, own }
	}
	share := func(pid uint32, tx uint64) bpf.TrafficShareRecord {
		r := bpf.TrafficShareRecord{}
		r.Key.Socket, r.Key.Pid = 1, pid
		r.Share.Party, r.Share.Tx, r.Share.Wanted = party(pid), tx, 1
		return r
	}
	last := func(r bpf.TrafficTcpRecord) bpf.TrafficTcpRecord {
		r.Last = 1
		return r
	}
	for name, c := range map[string]struct {
		steps []any              // readings; nil: a report
		want  []map[uint32]moved // at each report
	}{
		"an owner": {
			[]any{reading(7, 3, sure), nil, reading(11, 3, sure), nil, last(reading(13, 4, sure)), nil},
			[]map[uint32]moved{{10: {7, 3}}, {10: {4, 0}}, {10: {2, 1}}},
		},
		"a reading that lags": {
			[]any{reading(7, 3, sure), nil, reading(6, 4, sure), nil, last(reading(7, 4, sure)), nil},
			[]map[uint32]moved{{10: {7, 3}}, {10: {0, 1}}, {}},
		},
		"an owner that is found out late": {
			[]any{
				reading(7, 0, func(r *bpf.TrafficTcp) { r.Owner.Pid = 0 }), nil,
				reading(7, 0, func(r *bpf.TrafficTcp) { r.Owner = party(12); r.Sure = 1 }), nil,
			},
			[]map[uint32]moved{{}, {12: {7, 0}}},
		},
		"several holders, none of whom has moved anything": {
			[]any{reading(7, 0, func(r *bpf.TrafficTcp) { r.Look, r.Several = 1, 1 }), nil, last(reading(7, 0, sure)), nil},
			[]map[uint32]moved{{}, {10: {7, 0}}},
		},
		"two that share": {
			[]any{
				reading(5, 0, sure), nil, // 5 are the owner's
				reading(12, 0, shared(5)), share(20, 7), nil, // then 7 another's
				reading(15, 0, shared(5)), share(20, 7), share(10, 3), nil, // then 3 the owner's
				last(reading(15, 0, shared(5))), nil,
			},
			[]map[uint32]moved{{10: {5, 0}}, {20: {7, 0}}, {10: {3, 0}}, {}},
		},
		"what is still on its way is nobody's": {
			[]any{
				reading(12, 0, shared(5)), share(20, 3), nil,
				reading(12, 0, shared(5)), share(20, 7), nil,
			},
			[]map[uint32]moved{{10: {5, 0}, 20: {3, 0}}, {20: {4, 0}}},
		},
		"what is on its way for long is not the owner's": {
			[]any{
				reading(12, 0, shared(5)), share(20, 3), nil,
				reading(12, 0, shared(5)), share(20, 3), nil,
				reading(12, 0, shared(5)), share(20, 7), nil,
			},
			[]map[uint32]moved{{10: {5, 0}, 20: {3, 0}}, {}, {20: {4, 0}}},
		},
		"what is counted but not sent yet": {
			[]any{reading(5, 0, shared(5)), share(20, 7), nil, reading(12, 0, shared(5)), share(20, 7), nil},
			[]map[uint32]moved{{20: {5, 0}}, {10: {5, 0}, 20: {2, 0}}},
		},
		"what no call tells is the owner's, in the end": {
			[]any{reading(20, 0, shared(5)), share(20, 7), nil, last(reading(20, 0, shared(5))), nil},
			[]map[uint32]moved{{10: {5, 0}, 20: {7, 0}}, {10: {8, 0}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := record.New(t)
			x := offline(session.Options{}, sink)
			reports := 0
			for _, step := range c.steps {
				switch step := step.(type) {
				case bpf.TrafficTcpRecord:
					x.socket(&step)
				case bpf.TrafficShareRecord:
					x.shared(&step)
				case nil:
					before := len(sink.Events())
					x.tell(0, false)
					got := map[uint32]moved{}
					for _, e := range record.All[*event.Traffic](sink)[before:] {
						got[e.PID] = moved{e.Tx, e.Rx}
					}
					if diff := cmp.Diff(c.want[reports], got, cmp.AllowUnexported(moved{})); diff != "" {
						t.Errorf("report %d: %s", reports, diff)
					}
					reports++
				}
			}
		})
	}
}

// A last reading is taken over if it is one, and then all its bytes are in
// rows.
func FuzzDecode(f *testing.F) {
	r := bpf.TrafficTcpRecord{Socket: 1, Last: 1}
	r.Tcp.Tx, r.Tcp.Rx, r.Tcp.Wanted = math.MaxUint32, 7, 1
	f.Add(unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r)))
	r.Tcp.Shared, r.Tcp.Sure, r.Tcp.Role = 1, 1, 2
	f.Add(slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		sink := record.New(t)
		x := offline(session.Options{}, sink)
		x.by = byConnection
		aligned := make([]uint64, len(b)/8+1)
		bytes := unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), len(b))
		copy(bytes, b)
		ok := x.Decode(bytes)
		x.tell(0, true)
		var got moved
		for _, e := range record.All[*event.Traffic](sink) {
			got = got.plus(e.Tx, e.Rx)
			event.AppendJSON(nil, e)
		}
		want := moved{}
		if r := (*bpf.TrafficTcpRecord)(unsafe.Pointer(&aligned[0])); ok && r.Tcp.Wanted != 0 {
			want = moved{r.Tcp.Tx, r.Tcp.Rx}
		}
		if got != want || ok && len(b)-int(unsafe.Sizeof(r)) > 7 {
			t.Fatalf("%+v of %+v, ok %t", got, want, ok)
		}
	})
}
