package http1

import (
	"strings"
	"testing"
)

// What most exchanges look like to the kernel's program.
const (
	plainRequest = "GET /api/v1/users/42?fields=name,mail HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\n" +
		"Accept: application/json\r\nAccept-Encoding: gzip, br\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n" +
		"X-Request-Id: 123e4567-e89b-12d3-a456-426614174000\r\n\r\n"
	plainHead = "HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Tue, 24 Nov 2026 09:00:00 GMT\r\nContent-Type: application/json\r\n" +
		"Connection: keep-alive\r\nCache-Control: no-store\r\n"
	plainResponse   = plainHead + "Content-Length: 20\r\n\r\n{\"id\":42,\"name\":\"a\"}"
	chunkedResponse = plainHead + "Transfer-Encoding: chunked\r\n\r\n14\r\n{\"id\":42,\"name\":\"a\"}\r\n0\r\n\r\n"
)

// workload feeds exchanges to a connection, one after the other.
type workload struct {
	c     Conn
	to    Sink
	told  int
	now   int64
	off   [2]uint64
	calls []Segment // of an exchange
}

func newWorkload(calls ...Segment) *workload {
	w := &workload{calls: calls}
	w.to.Exchange = func(x *Exchange) {
		if x.Status == 200 && x.Inexact == 0 {
			w.told++
		}
	}
	return w
}

func (w *workload) exchange() {
	for _, s := range w.calls {
		w.now += 1000
		s.Offset, s.Time, s.Last = w.off[s.Dir], w.now, w.now
		w.off[s.Dir] += s.Size
		w.c.Feed(&s, &w.to)
	}
}

func call(dir Direction, data string) Segment {
	return Segment{Dir: dir, Size: uint64(len(data)), Data: []byte(data)}
}

var workloads = []struct {
	name  string
	calls []Segment
}{
	{"plain", []Segment{call(Sent, plainRequest), call(Received, plainResponse)}},
	{"chunked", []Segment{call(Sent, plainRequest), call(Received, chunkedResponse)}},
	{"head of 1 KiB", []Segment{
		call(Sent, strings.Replace(plainRequest, "\r\n\r\n", "\r\nCookie: "+strings.Repeat("c", 740)+"\r\n\r\n", 1)), call(Received, plainResponse)}},
	{"heads in three calls", []Segment{
		call(Sent, plainRequest[:30]), call(Sent, plainRequest[30:200]), call(Sent, plainRequest[200:]),
		call(Received, plainResponse[:5]), call(Received, plainResponse[5:100]), call(Received, plainResponse[100:])}},
	{"body of 1 MiB in 16 calls, not captured", append([]Segment{
		call(Sent, plainRequest), call(Received, plainHead+"Content-Length: 1048576\r\n\r\n")}, bulk(16, 64<<10)...)},
	{"five pipelined", []Segment{
		call(Sent, strings.Repeat(plainRequest, 5)), call(Received, strings.Repeat(plainResponse, 5))}},
}

func bulk(n int, size uint64) (calls []Segment) {
	for range n {
		calls = append(calls, Segment{Dir: Received, Size: size})
	}
	return calls
}

func BenchmarkExchange(b *testing.B) {
	for _, load := range workloads {
		b.Run(load.name, func(b *testing.B) {
			w := newWorkload(load.calls...)
			b.ReportAllocs()
			for b.Loop() {
				w.exchange()
			}
			if w.told < b.N {
				b.Fatalf("%d exchanges were told of %d", w.told, b.N)
			}
		})
	}
}

func TestExchangesDoNotAllocate(t *testing.T) {
	for _, load := range workloads {
		w := newWorkload(load.calls...)
		if n := testing.AllocsPerRun(100, w.exchange); n != 0 {
			t.Errorf("%s: %v allocations an exchange", load.name, n)
		}
		if w.told%101 != 0 || w.told == 0 {
			t.Errorf("%s: %d exchanges were told", load.name, w.told)
		}
	}

	// The answer told before its request, as by two threads.
	w := newWorkload()
	ask, answer := call(Sent, plainRequest), call(Received, plainResponse)
	n := testing.AllocsPerRun(100, func() {
		ask.Offset, ask.Time, ask.Last = w.off[Sent], w.now+1, w.now+1
		answer.Offset, answer.Time, answer.Last = w.off[Received], w.now+2, w.now+2
		w.now += 2
		w.off[Sent] += ask.Size
		w.off[Received] += answer.Size
		w.c.Feed(&answer, &w.to)
		w.c.Feed(&ask, &w.to)
	})
	if n != 0 || w.told != 101 {
		t.Errorf("swapped: %v allocations an exchange, %d were told", n, w.told)
	}

	// A connection for each, as without keep-alive.
	w = newWorkload(workloads[0].calls...)
	n = testing.AllocsPerRun(100, func() {
		w.exchange()
		w.c.Close(w.now, Closed, &w.to)
		w.c.Reset(false)
		w.off = [2]uint64{}
	})
	if n > 1 || w.told != 101 {
		t.Errorf("a connection for each: %v allocations, %d were told", n, w.told)
	}
}
