package trace

import (
	"testing"
	"unsafe"

	"tracer/bpf"
)

// From the kernel's four records of a connection, both ends of which are here, to
// lines of JSON.
func BenchmarkConnConnection(b *testing.B) {
	sink := &lineSink{}
	s := connSession(sink)
	tracer := &connTracer{waits: map[wait]*waiter{}}
	s.tracer = tracer
	local := [16]uint8{10: 0xff, 11: 0xff, 12: 127, 15: 1}
	var records []bpf.ConnConnRecord
	for i, kind := range []bpf.ConnEvent{bpf.ConnEventConnect, bpf.ConnEventAccept, bpf.ConnEventClose, bpf.ConnEventClose} {
		r := bpf.ConnConnRecord{Time: 5_000_000_000 + uint64(i)*10_000, Type: kind, Tx: 1000, Rx: 100_000, SrttUs: 17, Reason: 1}
		r.Conn = bpf.ConnConn{Start: r.Time - 20_000, Cgroup: 12345, Src: local, Dst: local, Pid: 4_000, Uid: 1000,
			Sport: 54321, Dport: 8080, Comm: [16]int8{'n', 'g', 'i', 'n', 'x'}, Role: bpf.ConnRole(i%2 + 1), ClosedBy: 1}
		records = append(records, r)
	}
	b.ReportAllocs()
	begin := cpuTime()
	for b.Loop() {
		sink.lines = sink.lines[:0]
		for i := range records {
			r := &records[i]
			if !tracer.decode(s, unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r))) {
				b.Fatal("a record was not taken")
			}
		}
	}
	b.ReportMetric(float64((cpuTime()-begin).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
