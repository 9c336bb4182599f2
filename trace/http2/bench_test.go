package http2

import (
	"fmt"
	"strings"
	"testing"
)

// A workload is exchanges as a source that follows frames tells them, again and again on
// one connection: the frames repeat but for their streams.
type workload struct {
	c    Conn
	to   Sink
	told int
	now  int64
	off  [2]uint64
	next uint32 // the next stream
	buf  []byte
}

func newWorkload() *workload {
	w := &workload{next: 1}
	w.c.Reset(false)
	w.to.Exchange = func(x *Exchange) {
		if x.Status == 200 && x.Inexact == 0 && len(x.Target) > 0 && len(x.Host) > 0 {
			w.told++
		}
	}
	w.begin()
	return w
}

func (w *workload) begin() {
	w.move(Sent, preface+settings())
	w.move(Received, settings())
}

func (w *workload) feed(s *Segment) {
	w.now += 1000
	w.off[s.Dir] += s.Skipped
	s.Offset, s.Time, s.Last, s.Framed = w.off[s.Dir], w.now, w.now, true
	w.off[s.Dir] += s.Size
	w.c.Feed(s, &w.to)
}

func (w *workload) move(dir Direction, data string) {
	w.buf = append(w.buf[:0], data...)
	w.feed(&Segment{Dir: dir, Size: uint64(len(data)), Data: w.buf})
}

// put sends a frame that begins a stream: what was made for another one.
func (w *workload) put(dir Direction, id uint32, frames string) {
	w.buf = append(w.buf[:0], frames...)
	for b := w.buf; len(b) > 0; {
		f := readFrame(b)
		b[5], b[6], b[7], b[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
		b = b[frameHead+f.length:]
	}
	w.feed(&Segment{Dir: dir, Size: uint64(len(w.buf)), Data: w.buf})
}

// steady returns blocks as they are once the tables are filled.
func steady(p *side, end bool, lines ...string) string {
	p.headers(1, end, lines...)
	return p.headers(1, end, lines...)
}

func load(name string) (first func(w *workload), again func(w *workload), n int) {
	p, s := newSide(), newSide()
	var runs [1]Run
	data := func(w *workload, dir Direction, id uint32, n int, end bool) {
		runs[0] = Run{Stream: id, Frames: 1, Bytes: uint64(n + frameHead), First: w.now, Last: w.now, End: end}
		w.feed(&Segment{Dir: dir, Skipped: uint64(n + frameHead), Runs: runs[:]})
	}
	switch name {
	case "curl":
		req := steady(p, true, get("/api/v1/users/42?fields=name,mail", "user-agent: curl/8.5.0", "accept: */*")...)
		answer := steady(s, false, ":status: 200", "content-type: application/json", "date: Tue, 24 Nov 2026 09:00:00 GMT", "content-length: 20")
		r0 := newSide().headers(1, true, get("/api/v1/users/42?fields=name,mail", "user-agent: curl/8.5.0", "accept: */*")...)
		a0 := newSide().headers(1, false, ":status: 200", "content-type: application/json", "date: Tue, 24 Nov 2026 09:00:00 GMT", "content-length: 20")
		one := func(r, a string) func(*workload) {
			return func(w *workload) {
				id := w.next
				w.next += 2
				w.put(Sent, id, r)
				w.put(Received, id, a)
				data(w, Received, id, 20, true)
			}
		}
		return one(r0, a0), one(req, answer), 1
	case "nginx": // inserts, and never refers to that
		never := func(lines ...string) string {
			p := newSide()
			for i := range lines {
				lines[i] = "!" + lines[i]
			}
			return p.headers(1, false, lines...)
		}
		req := steady(p, true, get("/")...)
		r0 := newSide().headers(1, true, get("/")...)
		answer := never(":status: 200", "server: nginx/1.22.1", "date: Tue, 24 Nov 2026 09:00:00 GMT", "content-type: text/html", "content-length: 615", "last-modified: Tue, 24 Nov 2026 09:00:00 GMT", "etag: \"123-456\"", "accept-ranges: bytes")
		one := func(r string) func(*workload) {
			return func(w *workload) {
				id := w.next
				w.next += 2
				w.put(Sent, id, r)
				w.put(Received, id, answer)
				data(w, Received, id, 615, true)
			}
		}
		return one(r0), one(req), 1
	case "gRPC": // each call has another deadline, which is inserted
		type call struct{ ask, head, trailers string }
		var calls []call
		for i := range 1000 {
			calls = append(calls, call{
				p.headers(1, false, append(grpcCall("/helloworld.Greeter/SayHello"), fmt.Sprintf("grpc-timeout: %du", 1e6-i))...),
				s.headers(1, false, grpcHead...), s.headers(1, true, "grpc-status: 0", "grpc-message: ")})
		}
		at := 0
		again := func(w *workload) {
			if at == len(calls) {
				at, w.next, w.off = 0, 1, [2]uint64{}
				w.c.Reset(false)
				w.begin()
			}
			id := w.next
			w.next += 2
			w.put(Sent, id, calls[at].ask)
			data(w, Sent, id, 12, true)
			w.put(Received, id, calls[at].head)
			data(w, Received, id, 12, false)
			w.put(Received, id, calls[at].trailers)
			at++
		}
		return again, again, 1
	case "bursts of 100":
		req := steady(p, true, get("/")...)
		answer := steady(s, true, ":status: 200", "content-length: 0")
		r0 := newSide().headers(1, true, get("/")...)
		a0 := newSide().headers(1, true, ":status: 200", "content-length: 0")
		one := func(r, a string) func(*workload) {
			return func(w *workload) {
				id := w.next
				w.next += 200
				for i := range uint32(100) {
					w.put(Sent, id+2*i, r)
				}
				for i := range uint32(100) {
					w.put(Received, id+2*(i*37%100), a) // in another order
				}
			}
		}
		first := func(w *workload) { one(r0, a0)(w); w.told = 0 }
		return first, one(req, answer), 100
	}
	panic(name)
}

var workloads = []string{"curl", "nginx", "gRPC", "bursts of 100"}

func BenchmarkExchange(b *testing.B) {
	for _, name := range workloads {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			first, again, n := load(name)
			w := newWorkload()
			first(w)
			w.told = 0
			b.ReportAllocs()
			for b.Loop() {
				again(w)
			}
			if w.told < b.N*n {
				b.Fatalf("%d exchanges were told of %d: %+v", w.told, b.N*n, w.to.Counts)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(w.told), "ns/exchange")
		})
	}
}

func TestExchangesDoNotAllocate(t *testing.T) {
	for _, name := range workloads {
		first, again, n := load(name)
		w := newWorkload()
		first(w)
		for range 300 { // tables and buffers are as large as they will be
			again(w)
		}
		w.told = 0
		if got := testing.AllocsPerRun(100, func() { again(w) }); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
		if w.told != 101*n || w.to.Counts != (Counts{}) {
			t.Errorf("%s: %d exchanges were told: %+v", name, w.told, w.to.Counts)
		}
	}
}
