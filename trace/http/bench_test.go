package http

import (
	"bytes"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/message"
	"tracer/trace/session"
)

// A countingSink makes lines of events, and counts them.
type countingSink struct {
	buf   []byte
	lines int
}

func (s *countingSink) Event(e event.Event) bool {
	s.buf = append(event.AppendJSON(s.buf[:0], e), '\n')
	s.lines++
	return true
}

func (*countingSink) Name() string            { return "count" }
func (*countingSink) Flush() error            { return nil }
func (*countingSink) Broken() <-chan struct{} { return nil }
func (*countingSink) Close() (uint64, error)  { return 0, nil }

// An exchangeFeed makes the records of exchanges on connections that have both
// their ends here, as the kernel sends them: the server's end first.
type exchangeFeed struct {
	tracer  *tracer
	records [2][]uint64 // by role; records are aligned
	now     uint64
}

func newExchangeFeed(t testing.TB, sink session.Sink, opts session.Options, args ...string) *exchangeFeed {
	t.Helper()
	const (
		request  = "GET /api/v1/users/42 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
		response = "HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Tue, 24 Nov 2026 09:00:00 GMT\r\n" +
			"Content-Type: application/json\r\nContent-Length: 20\r\nConnection: keep-alive\r\n\r\n{\"id\":42,\"name\":\"a\"}"
	)
	f := &exchangeFeed{
		tracer: record.Parse(t, Probe, args...).(*tracer),
		now:    kernel.Now(),
	}
	if err := f.tracer.Attached(session.Offline(f.tracer, opts, sink)); err != nil {
		t.Fatal(err)
	}
	for role := range f.records {
		way := role // which way requests go: sent by the client
		record := bpf.HttpHttpRecord{
			Socket: uint64(role+1) << 12, Seen: 1, Type: bpf.HttpEventDataMoved, Parts: uint8(bpf.HttpPartWithIntro), Requests: bpf.HttpDirection(way),
			Kept: bpf.HttpHttpCall{Size: uint32(len(request)), Len: uint16(len(request)), Dir: bpf.HttpDirection(way)},
			Call: bpf.HttpHttpCall{Size: uint32(len(response)), Len: uint16(len(response)), Dir: bpf.HttpDirection(1 - way)},
		}
		intro := bpf.HttpHttpIntro{
			Socket: bpf.HttpHttpSocket{LocalPort: 40000, RemotePort: 80, Family: unix.AF_INET, Id: 0x89abcdef01234567, Naming: bpf.HttpNamingNamed},
			Owner:  bpf.HttpHttpOwner{Pid: uint32(100 + role), Comm: [16]int8{'n', 'a', 'm', 'e'}},
		}
		copy(intro.Socket.Local[:], []byte{10, 0, 0, 1})
		copy(intro.Socket.Remote[:], []byte{10, 0, 0, 2})
		if message.Role(role) == message.Server {
			s := &intro.Socket
			s.Local, s.Remote = s.Remote, s.Local
			s.LocalPort, s.RemotePort = s.RemotePort, s.LocalPort
		}
		var b bytes.Buffer
		b.Write(unsafe.Slice((*byte)(unsafe.Pointer(&record)), unsafe.Sizeof(record)))
		b.WriteString(response + request)
		b.Write(unsafe.Slice((*byte)(unsafe.Pointer(&intro)), unsafe.Sizeof(intro)))
		f.records[role] = make([]uint64, (b.Len()+7)/8)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&f.records[role][0])), b.Len()), b.Bytes())
	}
	f.exchange()
	for role := range f.records {
		f.record(role).Parts = 0 // introduced
	}
	return f
}

func (f *exchangeFeed) record(role int) *bpf.HttpHttpRecord {
	return (*bpf.HttpHttpRecord)(unsafe.Pointer(&f.records[role][0]))
}

// exchange decodes the two records of the next one.
func (f *exchangeFeed) exchange() {
	f.now += 100_000
	for _, role := range []int{int(message.Server), int(message.Client)} {
		r, d := f.record(role), uint64(1_000*role)
		r.Kept.Time, r.Call.Time = f.now+d, f.now+50_000-d
		r.Kept.Last, r.Call.Last, r.Time = r.Kept.Time, r.Call.Time, r.Call.Time
		r.Kept.Offset, r.Call.Offset = r.Bytes[r.Kept.Dir], r.Bytes[r.Call.Dir]
		r.Bytes[r.Kept.Dir] += uint64(r.Kept.Size)
		r.Bytes[r.Call.Dir] += uint64(r.Call.Size)
		if !f.tracer.Decode(unsafe.Slice((*byte)(unsafe.Pointer(&f.records[role][0])), len(f.records[role])*8)) {
			panic("a record was not taken")
		}
	}
}

// cpuTime is what this process has used of it: what else the machine does counts little.
func cpuTime() time.Duration {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru) // of oneself it cannot fail
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// flagsOf are the flags that make an exchange a line of its own, or part of a row.
func flagsOf(into string) []string {
	if into == "summary" {
		return []string{"--summary"}
	}
	return nil
}

// From the kernel's records to a line of JSON, or to a place in the summary.
func BenchmarkExchange(b *testing.B) {
	for _, into := range []string{"line", "summary"} {
		b.Run(into, func(b *testing.B) {
			sink := &countingSink{}
			f := newExchangeFeed(b, sink, session.Options{}, flagsOf(into)...)
			b.ReportAllocs()
			begin := cpuTime()
			for b.Loop() {
				f.exchange()
			}
			b.ReportMetric(float64((cpuTime()-begin).Nanoseconds())/float64(b.N), "cpu-ns/op")
			if want := b.N + 1; into == "line" && sink.lines != want {
				b.Fatalf("%d lines of %d exchanges", sink.lines, want)
			}
		})
	}
}

func TestExchangesDoNotAllocate(t *testing.T) {
	for _, into := range []string{"line", "summary"} {
		sink := &countingSink{}
		f := newExchangeFeed(t, sink, session.Options{}, flagsOf(into)...)
		if n := testing.AllocsPerRun(5000, f.exchange); n != 0 {
			t.Errorf("%v allocations an exchange that becomes a %s", n, into)
		}
		if into == "line" && sink.lines != 5002 {
			t.Errorf("%d lines of %d exchanges", sink.lines, 5002)
		}
	}
}
