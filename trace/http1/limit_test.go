package http1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAHeadLongerThanTheLimitIsCut(t *testing.T) {
	long := "GET /a HTTP/1.1\r\nHost: h\r\nCookie: " + strings.Repeat("c", 400) + "\r\n\r\n" // 438 bytes
	for _, size := range []int{1, 7, 100, len(long)} {
		p := newTape(false)
		p.to.MaxHead = 100
		var steps []step
		for rest := long; rest != ""; {
			n := min(size, len(rest))
			steps = append(steps, out(rest[:n]).time(1, 1))
			rest = rest[n:]
		}
		steps = append(steps, in(nf).time(2, 2), out(get2).time(3, 3), in(nf).time(4, 4))
		p.play(steps...)
		want := []string{
			"client GET /a at h 1.1 404 438@1-1 45@2-2 request~",
			"client GET /b at h 1.1 404 28@3-3 45@4-4"}
		if diff := cmp.Diff(want, p.rows); diff != "" {
			t.Errorf("in calls of %d bytes (-want +got):\n%s", size, diff)
		}
	}
}

func TestALineThatNeverEndsIsCut(t *testing.T) {
	p := newTape(false)
	p.play(out("GET /"))
	for range 200 {
		p.play(out(strings.Repeat("x", 1000)))
		if n := len(p.c.dirs[Sent].buf); n > DefaultMaxHead {
			t.Fatalf("%d bytes are kept", n)
		}
	}
	p.play(end(Closed))
	if len(p.rows) != 1 || !strings.Contains(p.rows[0], "… 1.1 0 200005@1-1 0@0-1 closed request~") {
		t.Errorf("%.80q", p.rows)
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	const more = 7
	p := newTape(false)
	p.play(out(strings.Repeat(get, maxWaiting+more)))
	p.play(in(strings.Repeat(nf, maxWaiting+more)).time(2, 2))
	if len(p.rows) != maxWaiting {
		t.Errorf("%d exchanges, want %d", len(p.rows), maxWaiting)
	}
	p.play(out(get2).time(3, 3), in(nf).time(4, 4))
	if len(p.rows) != maxWaiting { // it does not wait for answers, and one may be that of a request without room
		t.Errorf("afterwards: %s", p.rows[len(p.rows)-1])
	}
	if diff := cmp.Diff(Counts{Lost: 1, Overflow: more, Unmatched: 1, Resyncs: 1}, p.to.Counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestTheTextOfTheQueueIsBounded(t *testing.T) {
	p := newTape(false)
	target := strings.Repeat("x", 60<<10)
	for i := range 10 {
		p.play(out(fmt.Sprintf("GET /%d%s HTTP/1.1\r\n\r\n", i, target)))
	}
	if p.c.text > maxText+DefaultMaxHead || p.to.Overflow != 5 {
		t.Errorf("%d bytes are kept, %+v", p.c.text, p.to.Counts)
	}
	p.play(in(nf+nf).time(2, 2), end(Reset))
	if len(p.rows) != 5 || p.c.text != 0 {
		t.Errorf("%d exchanges, %d bytes are kept", len(p.rows), p.c.text)
	}
}

func TestResponsesWithoutRequestAreHeldInBounds(t *testing.T) {
	for _, size := range []int{0, maxHeldData / 4} {
		p := newTape(false)
		body := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size) + strings.Repeat("x", size)
		for range 3 * maxHeld {
			p.play(in(body).time(5, 5))
			if len(p.c.held) > maxHeld || footprint(&p.c) > maxHeldData+DefaultMaxHead {
				t.Fatalf("%d responses are held, %d bytes", len(p.c.held), footprint(&p.c))
			}
		}
		p.play(out(get).time(6, 6), in(nf).time(7, 7))
		if diff := cmp.Diff([]string{"client GET /a at h 1.1 404 28@6-6 45@7-7"}, p.rows); diff != "" {
			t.Errorf("afterwards (-want +got):\n%s", diff)
		}
	}
}

func TestChunkedFramingIsBounded(t *testing.T) {
	tests := map[string]string{
		"digits of a size":  strings.Repeat("0", maxDigits+1),
		"an extension":      "1;" + strings.Repeat("x", maxLine+1),
		"a trailer line":    "0\r\n" + strings.Repeat("x", maxLine+1),
		"all trailer lines": "0\r\n" + strings.Repeat("T: x\r\n", maxTrailer/6+1),
		"no size":           "\r\n",
		"no number":         "5x\r\n",
		"no line end":       "1\r\nxx\r\n",
	}
	for name, body := range tests {
		p := newTape(false)
		p.play(out(get).time(1, 1), in(ch+"\r\n\r\n"+body).time(2, 2))
		if p.c.dirs[Received].state != lost || p.to.Resyncs != 1 {
			t.Errorf("%s: state %d, %+v", name, p.c.dirs[Received].state, p.to.Counts)
		}
		p.play(out(get2).time(3, 3), in(nf).time(4, 4))
		want := []string{
			fmt.Sprintf("client GET /a at h 1.1 200 28@1-1 %d@2-2 response~", len(ch)+4+len(body)),
			"client GET /b at h 1.1 404 28@3-3 45@4-4"}
		if diff := cmp.Diff(want, p.rows); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestStuck(t *testing.T) {
	p := newTape(false)
	if _, waits := p.c.Oldest(); waits {
		t.Error("something waits on a new connection")
	}
	p.play(out(get+get2).time(10, 10), out(get3).time(20, 20))
	oldest := func(want int64) {
		t.Helper()
		if start, _ := p.c.Oldest(); start != want {
			t.Errorf("the oldest is from %d, want %d", start, want)
		}
	}
	oldest(10)
	p.c.Stuck(9, &p.to)
	p.play(in(ok).time(30, 30)) // half of the first answer
	oldest(10)
	p.c.Stuck(15, &p.to)
	p.c.Stuck(15, &p.to)
	oldest(20)
	p.c.Stuck(20, &p.to)
	oldest(0)
	p.play(in("ok"+nf).time(40, 40), end(Timeout))
	want := []string{
		"stuck client GET /b at h 1.1 0 28@10-10 0@0-0",
		"stuck client GET /c at h 1.1 0 28@20-20 0@0-0",
		"client GET /a at h 1.1 200 28@10-10 40@30-40",
		"client GET /b at h 1.1 404 28@10-10 45@40-40",
		"client GET /c at h 1.1 0 28@20-20 0@0-2 timeout",
	}
	if diff := cmp.Diff(want, p.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// What has no end of its own is told while it goes on: a head, and an answer that is none.
func TestStuckAreHeadsAndAnswersWithoutEnd(t *testing.T) {
	p := newTape(false)
	p.play(out("GET /slow HTTP/1.1\r\nHost: h\r\n").time(10, 10))
	if start, ok := p.c.Oldest(); start != 10 || !ok || !p.c.Busy() {
		t.Errorf("the oldest is from %d, %v", start, ok)
	}
	p.c.Stuck(9, &p.to)
	p.c.Stuck(10, &p.to)
	p.c.Stuck(10, &p.to)
	if _, ok := p.c.Oldest(); ok {
		t.Error("it was told, and still is to be")
	}
	p.play(out("\r\n").time(20, 20), in("SSH-2.0-x\r\n").time(30, 30))
	p.c.Stuck(30, &p.to) // it was stuck before: its end is waited for
	p.play(end(Closed))

	p.c.Reset(false)
	p.off = [2]uint64{}
	p.play(out(get).time(40, 40), in("junk").time(50, 50))
	if start, ok := p.c.Oldest(); start != 40 || !ok {
		t.Errorf("the oldest is from %d, %v", start, ok)
	}
	p.c.Stuck(45, &p.to)
	p.play(in("more").time(60, 60), end(Closed))
	want := []string{
		"stuck client GET /slow at h incomplete 1.1 0 29@10-10 0@0-0 request~",
		"client GET /slow at h 1.1 0 31@10-20 11@0-30 not_http response~",
		"client GET /a at h 1.1 0 28@40-40 4@0-50 not_http response~",
	}
	if diff := cmp.Diff(want, p.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestKind(t *testing.T) {
	tests := []struct {
		name, data string
		joined     bool
		kind       Kind
		opaque     bool
	}{
		{"nothing", "", false, Unknown, false},
		{"too few bytes", "GE", false, Unknown, false},
		{"a request", get, false, HTTP1, false},
		{"half a request", get[:12], false, Unknown, false},
		{"HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, HTTP2, true},
		{"HTTP/2, joined", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true, HTTP2, true},
		{"TLS", "\x16\x03\x01\x02\x00", false, TLS, true},
		{"almost TLS", "\x16\x04", false, Other, true},
		{"binary", "\x00\x01", false, Other, true},
		{"text that only an answer would make a request", "220 mail.example.com ESMTP\r\n", false, Unknown, false},
		{"a request of HTTP/0.9", "GET /\r\n", false, Unknown, false},
		{"text without a space", "*1\r\n$4\r\nPING\r\n", false, Other, true},
		{"binary, joined", "\x00\x01", true, Unknown, false},
	}
	for _, test := range tests {
		for _, size := range []int{1, 100} {
			p := newTape(test.joined)
			for rest := test.data; rest != ""; {
				n := min(size, len(rest))
				p.play(out(rest[:n]))
				rest = rest[n:]
			}
			if p.c.Kind() != test.kind || p.c.Opaque() != test.opaque {
				t.Errorf("%s: %s, opaque %v; want %s, %v", test.name, p.c.Kind(), p.c.Opaque(), test.kind, test.opaque)
			}
		}
	}
}

func TestResetMakesAConnectionNew(t *testing.T) {
	p := newTape(false)
	for i := range 3 {
		p.play(out(get+get2+get3[:9]), in(ok))
		if i == 1 {
			p.play(end(Reset))
		}
		p.c.Reset(false)
		p.off = [2]uint64{}
		p.rows = nil
		p.play(out(get), in(ok+"ok"))
		if diff := cmp.Diff([]string{"client GET /a at h 1.1 200 28@1-1 40@2-2"}, p.rows); diff != "" {
			t.Errorf("exchanges (-want +got):\n%s", diff)
		}
		p.c.Reset(i == 1)
		p.off = [2]uint64{}
	}
}
