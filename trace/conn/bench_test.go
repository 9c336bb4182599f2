package conn

import (
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
)

// lines is a sink that writes JSON over and over into the same memory.
type lines []byte

func (l *lines) Name() string             { return "lines" }
func (l *lines) Event(e event.Event) bool { *l = event.AppendJSON(*l, e); return true }
func (l *lines) Flush() error             { return nil }
func (l *lines) Broken() <-chan struct{}  { return nil }
func (l *lines) Close() (uint64, error)   { return 0, nil }

// cpuTime is what this process has used of it: what else the machine does counts little.
func cpuTime() time.Duration {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru) // of oneself it cannot fail
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// From the kernel's four records of a connection, both ends of which are here, to
// lines of JSON.
func BenchmarkConnection(b *testing.B) {
	var sink lines
	x := offline(&sink)
	local := [16]uint8{10: 0xff, 11: 0xff, 12: 127, 15: 1}
	var records []bpf.ConnConnRecord
	for i, kind := range []bpf.ConnEvent{bpf.ConnEventConnect, bpf.ConnEventAccept, bpf.ConnEventClose, bpf.ConnEventClose} {
		r := bpf.ConnConnRecord{Time: 5_000_000_000 + uint64(i)*10_000, Type: kind, Tx: 1000, Rx: 100_000, SrttUs: 17, Reason: 1}
		r.Conn = bpf.ConnConn{Start: r.Time - 20_000, Cgroup: 12345, Src: local, Dst: local, Pid: 4_000, Uid: 1000,
			Sport: 54321, Dport: 8080, Comm: [16]int8{'n', 'g', 'i', 'n', 'x'}, Role: bpf.ConnRole(i%2 + 1), ClosedBy: 1, Id: 0x89abcdef01234567, Naming: bpf.ConnNamingNamed}
		records = append(records, r)
	}
	b.ReportAllocs()
	begin := cpuTime()
	for b.Loop() {
		sink = sink[:0]
		for i := range records {
			r := &records[i]
			if !x.Decode(unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r))) {
				b.Fatal("a record was not taken")
			}
		}
	}
	b.ReportMetric(float64((cpuTime()-begin).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
