package http1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A step is one thing that happens to a connection. Step n of a test happens
// at time n, from 1.
type step struct {
	dir   Direction
	data  string
	tail  string
	more  uint64 // bytes behind data that were not captured, tail included
	skip  uint64 // bytes before data that nobody told
	back  uint64 // bytes that Offset goes back
	at    int64  // time where it is not n
	last  int64  // time of the last byte where it is another
	close Ending
	idle  bool // Settle
}

func out(data string) step                     { return step{dir: Sent, data: data} }
func in(data string) step                      { return step{dir: Received, data: data} }
func (s step) cut(more uint64) step            { s.more = more; return s }
func (s step) ends(tail string, n uint64) step { s.tail, s.more = tail, n; return s }
func (s step) after(skip uint64) step          { s.skip = skip; return s }
func (s step) time(at, last int64) step        { s.at, s.last = at, last; return s }
func end(why Ending) step                      { return step{close: why} }

// tape feeds steps and writes down what comes out.
type tape struct {
	c    Conn
	to   Sink
	off  [2]uint64
	rows []string

	offsets []uint64 // of the requests
}

func newTape(joined bool) *tape {
	p := &tape{}
	p.to.Exchange = func(x *Exchange) {
		p.rows = append(p.rows, row(x))
		p.offsets = append(p.offsets, x.RequestOffset)
	}
	p.to.Stuck = func(x *Exchange) { p.rows = append(p.rows, "stuck "+row(x)) }
	if joined {
		p.c.Reset(true)
	}
	return p
}

func (p *tape) play(steps ...step) {
	for i, s := range steps {
		now := int64(i + 1)
		switch {
		case s.close != Complete:
			p.c.Close(now, s.close, &p.to)
			continue
		case s.idle:
			p.c.Settle(now, &p.to)
			continue
		}
		p.off[s.dir] += s.skip - s.back
		seg := Segment{
			Dir: s.dir, Offset: p.off[s.dir], Size: uint64(len(s.data)) + s.more,
			Data: []byte(s.data), Tail: []byte(s.tail), Time: now, Last: now,
		}
		if s.at != 0 {
			seg.Time, seg.Last = s.at, max(s.at, s.last)
		}
		p.off[s.dir] += seg.Size
		p.c.Feed(&seg, &p.to)
		for _, b := range [][]byte{seg.Data, seg.Tail} { // they are the caller's again
			for i := range b {
				b[i] = '#'
			}
		}
	}
}

// row is one line per exchange: who, what, status, bytes@first-last byte of
// request and response, and what is uncertain.
func row(x *Exchange) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", x.Role, x.Method, x.Target)
	if x.TargetTruncated {
		b.WriteString("…")
	}
	if x.Host != nil {
		fmt.Fprintf(&b, " at %s", x.Host)
	}
	if x.Incomplete {
		b.WriteString(" incomplete")
	}
	minor := fmt.Sprint(x.Minor)
	if x.Minor == noMinor {
		minor = "?"
	}
	fmt.Fprintf(&b, " 1.%s %d", minor, x.Status)
	fmt.Fprintf(&b, " %d@%d-%d %d@%d-%d", x.RequestBytes, x.RequestStart, x.RequestEnd,
		x.ResponseBytes, x.ResponseStart, x.ResponseEnd)
	if x.Ending != Complete {
		fmt.Fprintf(&b, " %s", x.Ending)
	}
	for i, name := range []string{"request~", "response~", "time~"} {
		if x.Inexact&(1<<i) != 0 {
			b.WriteString(" " + name)
		}
	}
	return b.String()
}

const (
	get  = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"            // 28 bytes
	get2 = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"            // 28
	get3 = "GET /c HTTP/1.1\r\nHost: h\r\n\r\n"            // 28
	ok   = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"  // 38, and a body of 2
	ch   = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked" // the head's rest follows
	nf   = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

	proxy1 = "PROXY TCP4 192.0.2.10 192.0.2.20 40000 80\r\n"                                          // 43
	proxy2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x0a\xc0\x00\x02\x14\x9c\x40\x00\x50" // 28
)

func TestExchanges(t *testing.T) {
	fake := "HTTP/1.1 500 Fake\r\nContent-Length: 0\r\n\r\n" // 40 bytes
	fakeGet := "GET /fake HTTP/1.1\r\nHost: x\r\n\r\n"       // 31
	long := strings.Repeat("x", 100)
	tests := []struct {
		name  string
		join  bool
		steps []step
		want  []string
	}{
		// Framing.
		{"a request and its answer are an exchange", false,
			[]step{out(get), in(ok + "ok")},
			[]string{"client GET /a at h 1.1 200 28@1-1 40@2-2"}},
		{"who receives the request is the server", false,
			[]step{in(get), out(ok + "ok")},
			[]string{"server GET /a at h 1.1 200 28@1-1 40@2-2"}},
		{"first and last byte of the response are two times (pitfall 26)", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), in("12345"), in("67890")},
			[]string{"client GET /a at h 1.1 200 28@1-1 49@2-4"}},
		{"the request's body belongs to the request (RFC 9112, 6.2)", false,
			[]step{out("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"), out("ab"), out("cd"), in(nf)},
			[]string{"client POST /a at h 1.1 404 52@1-3 45@4-4"}},
		{"a response without a length ends with the connection (RFC 9112, 6.3 item 8)", false,
			[]step{out(get), in("HTTP/1.0 200 OK\r\n\r\n"), in("some"), in("more"), end(Closed)},
			[]string{"client GET /a at h 1.0 200 28@1-1 27@2-4"}},
		{"chunks, extensions and trailers (RFC 9112, 7.1)", false,
			[]step{out(get), in(ch + "\r\n\r\n5;a=\"b\"\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\nX: y\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 106@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"chunks split in every possible place", false,
			append(append([]step{out(get)}, bytewise(in, ch+"\r\n\r\nA\r\n0123456789\r\n00;x\r\nT: 1\r\n\r\n")...), out(get2), in(nf)),
			[]string{
				"client GET /a at h 1.1 200 28@1-1 76@2-77",
				"client GET /b at h 1.1 404 28@78-78 45@79-79"}},
		{"Transfer-Encoding outweighs Content-Length (RFC 9112, 6.3 item 3)", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 900\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 79@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"a last coding other than chunked ends with the connection (RFC 9112, 6.3 item 4)", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), in("..."), end(Closed)},
			[]string{"client GET /a at h 1.1 200 28@1-1 61@2-3"}},
		{"equal lengths are one (RFC 9110, 8.6)", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\ncontent-LENGTH : 2\r\n\r\nok"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 63@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"different lengths are none (RFC 9112, 6.3 item 5)", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 59@2-2 response~",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"HEAD, 204 and 304 have no body whatever the head says (RFC 9112, 6.3 item 1; pitfall 22)", false,
			[]step{
				out("HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n"), in("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
				out(get2), in("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
				out(get3), in("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
				out(get), in(nf)},
			[]string{
				"client HEAD /1 at h 1.1 200 29@1-1 39@2-2",
				"client GET /b at h 1.1 204 28@3-3 55@4-4",
				"client GET /c at h 1.1 304 28@5-5 49@6-6",
				"client GET /a at h 1.1 404 28@7-7 45@8-8"}},
		{"a body that looks like a head at a segment's start is a body (pitfall 23)", false,
			[]step{out("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n"), out(fakeGet),
				in("HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n"), in(fake), in(fake), out(get2), in(nf)},
			[]string{
				"client POST /a at h 1.1 200 80@1-2 119@3-5",
				"client GET /b at h 1.1 404 28@6-6 45@7-7"}},
		{"a chunk that looks like a head at a segment's start is a chunk (pitfall 23)", false,
			[]step{out(get), in(ch + "\r\n\r\n28\r\n"), in(fake), in("\r\n0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 98@2-4",
				"client GET /b at h 1.1 404 28@5-5 45@6-6"}},
		{"a chunk that looks like the last chunk is a chunk", false,
			[]step{out(get), in(ch + "\r\n\r\n7\r\n\r\n0\r\n\r\n"), in("\r\n0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 64@2-3",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"a body that ends with the connection may look like anything (pitfall 23)", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), in(fake), in(fake), end(Closed)},
			[]string{"client GET /a at h 1.1 200 28@1-1 118@2-4"}},
		{"empty lines before a request belong to nobody (RFC 9112, 2.2)", false,
			[]step{out("\r\n"), out("\r\n" + get), in(ok + "ok\r\n"), out("\n" + get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@2-2 40@3-3",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"a bare line feed ends a line (RFC 9112, 2.2)", false,
			[]step{out("GET /a HTTP/1.1\nHost: h\n\n"), in("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 25@1-1 37@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"a folded line goes on with the one before (RFC 9112, 5.2)", false,
			[]step{out("GET /a HTTP/1.1\r\nX: Content-Length:\r\n Content-Length: 5\r\nHost: h\r\n\r\n"),
				in("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n\tchunked\r\n\r\n0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 68@1-1 60@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"one byte per call, either way (pitfall 25)", false,
			append(append(bytewise(out, get), bytewise(in, ok+"ok")...), end(Closed)),
			[]string{"client GET /a at h 1.1 200 28@1-28 40@29-68"}},
		{"a status line without reason, an old version", false,
			[]step{out("GET / HTTP/1.0\r\n\r\n"), in("HTTP/1.0 404\r\nContent-Length: 0\r\n\r\n")},
			[]string{"client GET / 1.0 404 18@1-1 35@2-2"}},
		{"an exchange with fewer bytes than the capture costs no exactness: sums of calls", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"), in("").cut(5000).time(3, 9), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 5041@2-9",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},

		// Requests of all kinds.
		{"every token is a method (RFC 9110, 9.1; pitfall 24)", false,
			[]step{out("M-SEARCH /a HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf), out("x!#$%&'*+.^_`|~9 /b HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf)},
			[]string{
				"client M-SEARCH /a at h 1.1 404 33@1-1 45@2-2",
				"client x!#$%&'*+.^_`|~9 /b at h 1.1 404 41@3-3 45@4-4"}},
		{"an absolute target gives the host, without its password (RFC 9112, 3.2.2; pitfall 24)", false,
			[]step{out("GET http://u:p@h:80/a?b HTTP/1.1\r\nHost: wrong\r\n\r\n"), in(nf)},
			[]string{"client GET http://u:p@h:80/a?b at h:80 1.1 404 49@1-1 45@2-2"}},
		{"the asterisk is a target (RFC 9112, 3.2.4; pitfall 24)", false,
			[]step{out("OPTIONS * HTTP/1.1\r\nHost:h\r\n\r\n"), in(nf)},
			[]string{"client OPTIONS * at h 1.1 404 30@1-1 45@2-2"}},
		{"a target with a space is told as sent", false,
			[]step{out("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf)},
			[]string{"client GET /a b at h 1.1 404 30@1-1 45@2-2"}},
		{"CONNECT ends HTTP with a 2xx only (RFC 9110, 9.3.6; pitfall 22)", false,
			[]step{out("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"), in("HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\n!"),
				out("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"), in("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), out(get), in(ok + "ok")},
			[]string{
				"client CONNECT h:1 at h:1 1.1 407 35@1-1 39@2-2",
				"client CONNECT h:1 at h:1 1.1 200 35@3-3 38@4-4"}},
		{"bytes ahead of a tunnel are no disorder", false,
			[]step{out("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"), out("\x16\x03\x01\x02"), in("HTTP/1.1 200 OK\r\n\r\n"), in("\x16\x03\x03")},
			[]string{"client CONNECT h:1 at h:1 1.1 200 35@1-1 19@3-3"}},
		{"101 is an answer and ends HTTP (RFC 9110, 15.2.2; pitfall 22)", false,
			[]step{out("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"), in("HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02hi"), out(get), in(ok + "ok"), end(Closed)},
			[]string{"client GET /ws at h 1.1 101 49@1-1 36@2-2"}},

		// Interim and early responses.
		{"1xx is not the answer, its bytes count (RFC 9110, 15.2; pitfall 22)", false,
			[]step{out("PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"), in("HTTP/1.1 100 Continue\r\n\r\n"), out("ab"),
				in("HTTP/1.1 103 Early Hints\r\n\r\n"), in(nf)},
			[]string{"client PUT /a at h 1.1 404 71@1-3 98@5-5"}},
		{"1xx and the answer in one segment", false,
			[]step{out(get), in("HTTP/1.1 100 Continue\r\n\r\n" + nf)},
			[]string{"client GET /a at h 1.1 404 28@1-1 70@2-2"}},
		{"a final status instead of 100: the body may never come (RFC 9110, 10.1.1)", false,
			[]step{out("PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n"), in("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client PUT /a at h 1.1 417 70@1-1 38@2-2 request~",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"a final status instead of 100: the body may still come, and costs the next request", false,
			[]step{out("PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"), in("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"), out("body"), out(get2), in(nf), out(get3), in(nf)},
			[]string{
				"client PUT /a at h 1.1 417 69@1-1 38@2-2 request~",
				"client GET /c at h 1.1 404 28@6-6 45@7-7"}},
		{"an answer before the request is whole (RFC 9112, 9.5)", false,
			[]step{out("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n"), out("0123456789"), in(nf), out("").cut(30), out(get2), in(nf)},
			[]string{
				"client PUT /a at h 1.1 404 58@1-2 45@3-3 request~",
				"client GET /b at h 1.1 404 28@5-5 45@6-6"}},

		// Pipelining.
		{"five requests in one segment and five answers in another (pitfall 21)", false,
			[]step{out(get + get2 + "HEAD /3 HTTP/1.1\r\n\r\n" + "POST /4 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + get3),
				in("HTTP/1.1 201 \r\nContent-Length: 1\r\n\r\n1" + "HTTP/1.1 202 \r\nContent-Length: 2\r\n\r\n22" +
					"HTTP/1.1 203 \r\nContent-Length: 3\r\n\r\n" + ch + "\r\n\r\n1\r\n4\r\n0\r\n\r\n" + "HTTP/1.1 205 \r\nContent-Length: 0\r\n\r\n")},
			[]string{
				"client GET /a at h 1.1 201 28@1-1 37@2-2",
				"client GET /b at h 1.1 202 28@1-1 38@2-2",
				"client HEAD /3 1.1 203 20@1-1 36@2-2",
				"client POST /4 1.1 200 42@1-1 58@2-2",
				"client GET /c at h 1.1 205 28@1-1 36@2-2"}},
		{"a pipeline that never runs empty", false,
			[]step{out(get), out(get2), in(nf), out(get3), in(nf), out(get), in(nf), in(nf)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@3-3",
				"client GET /b at h 1.1 404 28@2-2 45@5-5",
				"client GET /c at h 1.1 404 28@4-4 45@7-7",
				"client GET /a at h 1.1 404 28@6-6 45@8-8"}},

		// Requests without an answer.
		{"a request without an answer says why (pitfall 28)", false,
			[]step{out(get), end(Reset)},
			[]string{"client GET /a at h 1.1 0 28@1-1 0@0-2 reset"}},
		{"half an answer is told with its status", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"), in("abc"), end(Timeout)},
			[]string{"client GET /a at h 1.1 200 28@1-1 43@2-3 timeout"}},
		{"half a head with a status is an answer, half a status is none", false,
			[]step{out(get), in("HTTP/1.1 503 Busy\r\nRetry"), end(Closed)},
			[]string{"client GET /a at h 1.1 503 28@1-1 24@2-2 closed response~"}},
		{"half a status is no answer", false,
			[]step{out(get), in("HTTP/1.1 50"), end(Closed)},
			[]string{"client GET /a at h 1.1 0 28@1-1 0@0-3 closed"}},
		{"a pipeline of which one is answered", false,
			[]step{out(get + get2), in(nf), end(Closed)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /b at h 1.1 0 28@1-1 0@0-3 closed"}},
		{"an interim response is no answer", false,
			[]step{out(get), in("HTTP/1.1 100 Continue\r\n\r\n"), end(Closed)},
			[]string{"client GET /a at h 1.1 0 28@1-1 25@0-3 closed"}},
		{"half a request is a request whose head never ended", false,
			[]step{out("GET /a HTTP/1.1\r\nHost: h\r\nX"), end(Closed)},
			[]string{"client GET /a at h incomplete 1.1 0 27@1-1 0@0-2 closed request~"}},
		{"half a request behind an exchange is one, too", false,
			[]step{out(get), in(nf), out("GET /b HT"), end(Reset)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /b incomplete 1.1 0 9@3-3 0@0-4 reset request~"}},
		{"half a method is none", false,
			[]step{out("GE"), end(Closed)}, nil},
		{"half a line that may be anything is no request", false,
			[]step{out("get key"), end(Closed)}, nil},

		// Gaps.
		{"lengths lead through gaps", false,
			[]step{out("POST /a HTTP/1.1\r\nContent-Length: 4000\r\n\r\n").cut(2000), out("").cut(2000), in("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n").cut(30000), in("").cut(40000),
				out(get2), in(nf)},
			[]string{
				"client POST /a 1.1 200 4042@1-2 70042@3-4",
				"client GET /b at h 1.1 404 28@5-5 45@6-6"}},
		{"bytes that nobody told end a body exactly, at an unknown time", false,
			[]step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n").cut(30000), out(get2), in(nf).after(40000)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 70042@2-2 time~",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"the rest of a request that nobody told, behind its answer, says nothing against a client that waits", false,
			[]step{
				out("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 90\r\n\r\n"), in(nf),
				out("PUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n").after(90).cut(5000), in(nf),
				out(get3), in(nf)},
			[]string{
				"client PUT /a at h 1.1 404 48@1-1 45@2-2 request~",
				"client PUT /b at h 1.1 404 5060@3-3 45@4-4 request~",
				"client GET /c at h 1.1 404 28@5-5 45@6-6"}},
		{"a chunk that was not captured is left as exactly as a captured one", false,
			[]step{out(get), in(ch + "\r\n\r\n4000\r\n").cut(0x4000), in("\r\n0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 16444@2-3",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"the tail of a segment is read where the framing is known", false,
			[]step{out(get), in(ch+"\r\n\r\n4000\r\n").ends("\r\n0\r\n\r\n", 0x4000+7), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 16444@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"the tail of a segment ends chunks whose framing was lost", false,
			[]step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000), in("").ends("\r\n0\r\n\r\n", 5000), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 10051@2-3 response~",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"the last chunk in a call of its own ends chunks whose framing was lost", false,
			[]step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000), in("").cut(7000), in("0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 12056@2-4 response~",
				"client GET /b at h 1.1 404 28@5-5 45@6-6"}},
		{"the next request ends chunks whose framing was lost", false,
			[]step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000), in("").cut(7000), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 12051@2-3 response~",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"the end of the connection ends chunks whose framing was lost", false,
			[]step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000), in("").cut(7000), end(Closed)},
			[]string{"client GET /a at h 1.1 200 28@1-1 12051@2-3 response~"}},
		{"quiet ends chunks whose framing was lost, if asked", false,
			[]step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000), in("").cut(7000), {idle: true}, in("").cut(9), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 12051@2-3 response~",
				"client GET /b at h 1.1 404 28@6-6 45@7-7"}},
		{"text that looks like a head does not end chunks whose framing was lost (pitfall 23)", false,
			[]step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000), in(fake).cut(60), in("").cut(900), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 6051@2-4 response~",
				"client GET /b at h 1.1 404 28@5-5 45@6-6"}},
		{"a head that is cut gives what was captured", false,
			[]step{out("GET /a HTTP/1.1\r\nHost: h\r\nCookie: aaaa").cut(4000), in("HTTP/1.1 200 OK\r\nContent-Length: 500\r\nCSP: aaaa").cut(700), in("").cut(800), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 4038@1-1 747@2-2 request~ response~",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"a target that is cut is marked", false,
			[]step{out("GET /" + long).cut(40), in(nf)},
			[]string{"client GET /" + long + "… 1.1 404 145@1-1 45@2-2 request~"}},
		{"a host that is cut is not told", false,
			[]step{out("GET / HTTP/1.1\r\nHost: examp").cut(40), in(nf), out("GET http://examp").cut(40), in(nf)},
			[]string{
				"client GET / 1.1 404 67@1-1 45@2-2 request~",
				"client GET http://examp… 1.1 404 56@3-3 45@4-4 request~"}},
		{"a cut head without a body is over with its segment", false,
			[]step{out("HEAD /a HTTP/1.1\r\n\r\n"), in("HTTP/1.1 200 OK\r\nContent-Length: 500\r\nCSP: aaaa").cut(700)},
			[]string{"client HEAD /a 1.1 200 20@1-1 747@2-2 response~"}},
		{"a status that is cut is no answer that could be told", false,
			[]step{out(get), in("HTTP/1.1 2").cut(300), out(get2), in(nf), end(Closed)},
			[]string{"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"the body of a cut request may look like a request (pitfall 23)", false,
			[]step{out("POST /a HTTP/1.1\r\nCookie: aaaa").cut(4000), out(fakeGet), in(nf), out(get2), in(nf)},
			[]string{
				"client POST /a 1.1 404 4061@1-2 45@3-3 request~",
				"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"an answer that moved unseen leaves its request untold, not unanswered", false,
			[]step{out(get), in("").cut(500), out(get2), in(nf), out(get3), in("").after(300), end(Closed)},
			[]string{"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"an answer is not given to a request before it (a lost answer and a lost request)", false,
			[]step{out(get), in(nf).after(45), end(Closed)}, nil},
		{"requests of a pipeline that were not captured do not shift the answers", false,
			[]step{out(get + get2).cut(28), in("HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n" + "HTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n" + "HTTP/1.1 203 \r\nContent-Length: 0\r\n\r\n"), out(get3), in(nf)},
			[]string{
				"client GET /a at h 1.1 201 28@1-1 36@2-2",
				"client GET /b at h 1.1 202 28@1-1 36@2-2"}},
		{"answers of a pipeline that were not captured do not shift the others", false,
			[]step{out(get + get2), in("HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n").cut(36), out(get3), in(nf)},
			[]string{"client GET /a at h 1.1 201 28@1-1 36@2-2"}},
		{"who sent several requests at once may not wait for all of their answers (issue 16)", false,
			[]step{out(get + get2), in("").cut(45), out(get3), in(nf), out(get), in(nf), in(ok + "ok"), end(Closed)}, nil},
		{"a client that sends ahead gets no answer that could be another's", false,
			[]step{out(get), out(get2), in("HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n").cut(36), out(get3), in(nf), end(Closed)},
			[]string{"client GET /a at h 1.1 201 28@1-1 36@3-3"}},
		{"an offset that goes back is no reason to tell something false", false,
			[]step{out(get), {dir: Received, data: ok + "ok", back: 0}, {dir: Sent, data: get, back: 10}, in(nf), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 40@2-2",
				"client GET /b at h 1.1 404 28@5-5 45@6-6"}},

		{"an answer that came while the request's head was still incomplete is not read as the answer", false,
			[]step{out(get[:20]), in("rest of an answer").after(70), out("").cut(8), in(nf), end(Closed)}, nil},
		{"a client that does not wait is not paired again where answers were lost", false,
			[]step{out(get), out(get2), in("").cut(45), out(get3), in(nf), in(nf), end(Closed)}, nil},
		{"a client that waits is, from the next request on", false,
			[]step{out(get), in("").cut(45), out(get2), in(nf), out(get3), in(nf)},
			[]string{
				"client GET /b at h 1.1 404 28@3-3 45@4-4",
				"client GET /c at h 1.1 404 28@5-5 45@6-6"}},
		{"requests that were not captured cost the answers of their own", false,
			[]step{out(get), in(nf), out("").cut(28), in(nf), out(get3), in(nf)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /c at h 1.1 404 28@5-5 45@6-6"}},

		// Order.
		{"an answer told before its request, by threads on two processors", false,
			[]step{in(ok+"ok").time(5, 5), out(get).time(3, 3), out(get2).time(6, 6), in(nf).time(7, 7)},
			[]string{
				"client GET /a at h 1.1 200 28@3-3 40@5-5",
				"client GET /b at h 1.1 404 28@6-6 45@7-7"}},
		{"an answer told before half of its request", false,
			[]step{out(get[:20]).time(1, 1), in(ok).time(5, 5), in("ok").time(6, 6), out(get[20:]).time(3, 3), out(get2).time(7, 7), in(nf).time(8, 8)},
			[]string{
				"client GET /a at h 1.1 200 28@1-3 40@5-6",
				"client GET /b at h 1.1 404 28@7-7 45@8-8"}},
		{"two answers told before their requests", false,
			[]step{out(get).time(1, 1), in(nf).time(2, 2), in("HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n"+"HTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n").time(7, 7), out(get2).time(5, 5), out(get3).time(6, 6)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /b at h 1.1 201 28@5-5 36@7-7",
				"client GET /c at h 1.1 202 28@6-6 36@7-7"}},
		{"a response from before the request is not its answer", false,
			[]step{out(get), in(nf), in("HTTP/1.1 408 Idle\r\nContent-Length: 0\r\n\r\n"), out(get2), end(Reset)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /b at h 1.1 0 28@4-4 0@0-5 reset"}},

		// Connections older than the tracing.
		{"joined within a response: the first request counts (pitfall 29)", true,
			[]step{in("rest of a body"), in("").cut(400), out(get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@3-3 45@4-4"}},
		{"joined before a response: no row without a request (pitfall 29)", true,
			[]step{in(ok + "ok"), out(get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@2-2 45@3-3"}},
		{"joined before the answer to a HEAD: its length is not believed", true,
			[]step{in("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"), out(get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@2-2 45@3-3"}},
		{"joined within a body that looks like a request: roles are corrected (pitfall 29)", true,
			[]step{out(fakeGet), out("and more"), in(get), out(nf), end(Closed)},
			[]string{"server GET /a at h 1.1 404 28@3-3 45@4-4"}},
		{"joined within a body that is only like a request", true,
			[]step{out(fakeGet), in(get), out(nf), end(Closed)},
			[]string{"server GET /a at h 1.1 404 28@2-2 45@3-3"}},
		{"joined within a request's body that looks like a response", true,
			[]step{out(fake), in(nf), out(get), in(ok + "ok")},
			[]string{"client GET /a at h 1.1 200 28@3-3 40@4-4"}},
		{"joined when idle, and one byte per call", true,
			append(bytewise(out, get), bytewise(in, ok+"ok")...),
			[]string{"client GET /a at h 1.1 200 28@1-28 40@29-68"}},
		{"joined, and a pipeline's parts come in between the answer's", true,
			[]step{out(get), in(nf[:10]), out(get2), in(nf[10:] + nf)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-4",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"joined within what only begins like a head", true,
			[]step{in("HEA"), out("GET"), in("D of"), out(get), in(nf), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 404 28@4-4 45@5-5",
				"client GET /b at h 1.1 404 28@6-6 45@7-7"}},
		{"joined before a target of each form (RFC 9112, 3.2)", true,
			[]step{out("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf)},
			[]string{"client OPTIONS * at h 1.1 404 31@1-1 45@2-2"}},
		{"joined, and the request is never answered (pitfall 28)", true,
			[]step{out(get), end(Reset)},
			[]string{"client GET /a at h 1.1 0 28@1-1 0@0-2 reset"}},
		{"text without all the syntax is no head for who joined", true,
			[]step{out("GET /a HTTP/1.1\r\nno field\r\n\r\n"), in(nf), out("ET /a HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf), out("GET /a\r\nHost: h\r\n\r\n"), in(nf)}, nil},
		{"joined before a request without Host", true,
			[]step{out("GET /a HTTP/1.1\r\n\r\n"), in(nf)},
			[]string{"client GET /a 1.1 404 19@1-1 45@2-2"}},
		{"joined before a rare method", true,
			[]step{out("MKACTIVITY /a HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf)},
			[]string{"client MKACTIVITY /a at h 1.1 404 35@1-1 45@2-2"}},
		{"joined before a method in lower case", true,
			[]step{out("get /a HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf)},
			[]string{"client get /a at h 1.1 404 28@1-1 45@2-2"}},
		{"joined before a target without a slash", true,
			[]step{out("GET a?b HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf)},
			[]string{"client GET a?b at h 1.1 404 29@1-1 45@2-2"}},
		{"joined within something that ends before a request", true,
			[]step{out("end"), out(get), in(nf), out(get2), in(nf)},
			[]string{"client GET /b at h 1.1 404 28@4-4 45@5-5"}},
		{"joined before an empty line and a request", true,
			[]step{out("\r\n" + get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@1-1 45@2-2"}},

		// What stands before a request (RFC 9112, 2.2; the PROXY protocol).
		{"empty lines before the first request", false,
			[]step{out("\r\n"), out("\n\r\n" + get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@2-2 45@3-3"}},
		{"PROXY protocol 1 in the call of the request", false,
			[]step{out(proxy1 + get), in(nf), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"PROXY protocol 1 in a call of its own", false,
			[]step{out(proxy1), out(get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@2-2 45@3-3"}},
		{"PROXY protocol 1, byte by byte", false,
			append(bytewise(out, proxy1+"\r\n"+get), in(nf)),
			[]string{"client GET /a at h 1.1 404 28@46-73 45@74-74"}},
		{"PROXY protocol 2 in the call of the request", false,
			[]step{out(proxy2 + get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@1-1 45@2-2"}},
		{"PROXY protocol 2, byte by byte", false,
			append(bytewise(out, proxy2+get), in(nf)),
			[]string{"client GET /a at h 1.1 404 28@29-56 45@57-57"}},
		{"PROXY protocol 2, local", false,
			[]step{out("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"), out(get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@2-2 45@3-3"}},
		{"PROXY protocol 2, of which the end was not captured", false,
			[]step{out(proxy2[:20]).cut(8), out(get), in(nf)},
			[]string{"client GET /a at h 1.1 404 28@2-2 45@3-3"}},
		{"the PROXY protocol's head stands nowhere else", false,
			[]step{out(get), in(nf), out(proxy1 + get2), in("HTTP/1.1 400 Bad\r\n\r\n"), end(Closed)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client PROXY TCP4 192.0.2.10 192.0.2.20 40000 80 at h 1.1 400 71@3-3 20@4-4"}},
		{"PROXY is a method as well", false,
			[]step{out("PROXY /a HTTP/1.1\r\n\r\n"), in(nf)}, nil},

		// Requests that a server has to answer somehow.
		{"a relative target", false,
			[]step{out("POST ranks/latest?batch=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"), in(nf)},
			[]string{"client POST ranks/latest?batch=1 at h 1.1 404 68@1-1 45@2-2"}},
		{"a query alone, ftp and ws through a proxy", false,
			[]step{out("GET ?q=1 HTTP/1.1\r\n\r\n"), in(nf), out("GET ftp://h/x HTTP/1.1\r\n\r\n"), in(nf), out("GET ws://h/x HTTP/1.1\r\n\r\n"), in(nf)},
			[]string{
				"client GET ?q=1 1.1 404 21@1-1 45@2-2",
				"client GET ftp://h/x at h 1.1 404 26@3-3 45@4-4",
				"client GET ws://h/x at h 1.1 404 25@5-5 45@6-6"}},
		{"no target at all", false,
			[]step{out("GET HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf), out("GET  HTTP/1.1\r\nHost: h\r\n\r\n"), in(nf)},
			[]string{
				"client GET  at h 1.1 404 25@1-1 45@2-2",
				"client GET  at h 1.1 404 26@3-3 45@4-4"}},
		{"versions that there are not", false,
			[]step{out("GET /a HTTP/2.0\r\n\r\n"), in(nf), out("GET /a http/1.1\r\n\r\n"), in(nf), out("GET /a HTTP/1\r\n\r\n"), end(Closed)},
			[]string{
				"client GET /a 1.1 404 19@1-1 45@2-2",
				"client GET /a 1.1 404 19@3-3 45@4-4",
				"client GET /a 1.? 0 17@5-5 0@0-6 closed"}},
		{"a method that is none", false,
			[]step{out("G@T /a HTTP/1.1\r\n\r\n"), in("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")},
			[]string{"client G@T /a 1.1 400 19@1-1 39@2-2"}},
		{"a line without a version is a request if it is answered like one", false,
			[]step{out("GET /a\r\n"), in("HTTP/1.1 400 Bad\r\n\r\n"), end(Closed)},
			[]string{"client GET /a incomplete 1.1 400 8@1-1 20@2-2 request~"}},
		{"the same with an empty line behind it", false,
			[]step{out("GET /a\r\nHost: h\r\n\r\n" + get2), in("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n" + nf), end(Closed)},
			[]string{
				"client GET /a at h 1.1 400 19@1-1 39@2-2",
				"client GET /b at h 1.1 404 28@1-1 45@2-2"}},
		{"the same of a version of something like HTTP", false,
			[]step{out("OPTIONS /a RTSP/1.0\r\nHost: h\r\n\r\n"), in("HTTP/1.1 400 Bad\r\n\r\n"), end(Closed)},
			[]string{"client OPTIONS /a at h 1.1 400 32@1-1 20@2-2"}},
		{"a version that does not end its line", false,
			[]step{out("GET /a HTTP/5.6"), in("HTTP/1.1 400 Bad\r\n\r\n"), end(Closed)},
			[]string{"client GET /a incomplete 1.1 400 15@1-1 20@2-2 request~"}},
		{"and else it is none", false,
			[]step{out("get key\r\n"), in("END\r\n"), out("get key\r\n"), in("END\r\n"), end(Closed)}, nil},
		{"a mail server is none, whoever speaks first", false,
			[]step{in("220 mail ESMTP\r\n"), out("EHLO h\r\n"), in("250 OK\r\n"), end(Closed)}, nil},

		// Answers of all kinds.
		{"an answer that is not by the letter", false,
			[]step{
				out(get), in("http/1.1 201 OK\r\nContent-Length: 0\r\n\r\n"), out(get), in("HTTP/1.1  202 OK\r\nContent-Length: 0\r\n\r\n"),
				out(get), in("HTTP/2.0 203 OK\r\nContent-Length: 0\r\n\r\n"), out(get), in("\r\nHTTP/1.1 206 OK\r\nContent-Length: 0\r\n\r\n"),
				out(get), in("ICY 205 OK\r\nicy-name: x\r\n\r\n"), in("music"), end(Closed)},
			[]string{
				"client GET /a at h 1.1 201 28@1-1 38@2-2",
				"client GET /a at h 1.1 202 28@3-3 39@4-4",
				"client GET /a at h 1.1 203 28@5-5 38@6-6",
				"client GET /a at h 1.1 206 28@7-7 38@8-8",
				"client GET /a at h 1.1 205 28@9-9 32@10-11"}},
		{"an answer that is none", false,
			[]step{out(get), in("SSH-2.0-OpenSSH_9.2p1\r\n"), end(Closed)},
			[]string{"client GET /a at h 1.1 0 28@1-1 23@0-2 not_http response~"}},
		{"an alert of TLS, behind an exchange", false,
			[]step{out(get), in(nf), out(get2), in("\x15\x03\x01\x00\x02\x02\x46"), end(Reset)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /b at h 1.1 0 28@3-3 7@0-4 not_http response~"}},
		{"a page without a head (HTTP/0.9)", false,
			[]step{out(get), in("<html>"), in("").cut(4000), in("</html>"), end(Closed)},
			[]string{"client GET /a at h 1.1 0 28@1-1 4013@0-4 not_http response~"}},
		{"a status line without a status", false,
			[]step{out(get), in("HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 0 28@1-1 34@0-2 not_http response~",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"an answer that is none, byte by byte", false,
			append(append([]step{out(get)}, bytewise(in, "HTTQ")...), end(Closed)),
			[]string{"client GET /a at h 1.1 0 28@1-1 4@0-5 not_http response~"}},
		{"an answer that is none is over when the next request comes", false,
			[]step{out(get), in("junk"), out(get2), in(nf)},
			[]string{
				"client GET /a at h 1.1 0 28@1-1 4@0-2 not_http response~",
				"client GET /b at h 1.1 404 28@3-3 45@4-4"}},
		{"what belongs to the answer before is not taken for one", false,
			[]step{out(get), in(ok + "ok"), out(get2), in("more"), in(nf), out(get3), in(nf)},
			[]string{
				"client GET /a at h 1.1 200 28@1-1 40@2-2",
				"client GET /b at h 1.1 404 28@3-3 45@5-5",
				"client GET /c at h 1.1 404 28@6-6 45@7-7"}},
		{"which of several requests was answered so is not known but of the first", false,
			[]step{out(get + get2), in("junk"), end(Closed)},
			[]string{"client GET /a at h 1.1 0 28@1-1 4@0-2 not_http response~"}},
		{"more than the length says", false,
			[]step{
				out("HEAD /1 HTTP/1.1\r\n\r\n"), in(ok + "ok"), out(get2), in(nf),
				out(get), in("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello"), out(get2), in(nf),
				out(get), in(ok + "okmore"), out(get2), in(ok + "ok"), in("more"), out(get3), in(nf)},
			[]string{
				"client HEAD /1 1.1 200 20@1-1 38@2-2", "client GET /b at h 1.1 404 28@3-3 45@4-4",
				"client GET /a at h 1.1 204 28@5-5 38@6-6", "client GET /b at h 1.1 404 28@7-7 45@8-8",
				"client GET /a at h 1.1 200 28@9-9 40@10-10", "client GET /b at h 1.1 200 28@11-11 40@12-12",
				"client GET /c at h 1.1 404 28@14-14 45@15-15"}},

		// Answers before the head of the request is over.
		{"408 to a head that does not go on", false,
			[]step{out("GET /slow HTTP/1.1\r\nHost: h\r\n"), in("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"), end(Closed)},
			[]string{"client GET /slow at h incomplete 1.1 408 29@1-1 43@2-2 request~"}},
		{"414 to a line that does not end", false,
			[]step{out("GET /" + long), in("HTTP/1.1 414 Long\r\nContent-Length: 0\r\n\r\n"), end(Closed)},
			[]string{"client GET /" + long + "… incomplete 1.1 414 105@1-1 40@2-2 request~"}},
		{"431, and more of the head", false,
			[]step{out(get), in(nf), out("GET /b HTTP/1.1\r\nHost: h\r\nCookie: " + long), in("HTTP/1.1 431 Large\r\nContent-Length: 0\r\n\r\n"), out(long + "\r\n\r\n"), out(get3), end(Closed)},
			[]string{
				"client GET /a at h 1.1 404 28@1-1 45@2-2",
				"client GET /b at h incomplete 1.1 431 134@3-3 41@4-4 request~"}},
		{"an answer to such a head that is none", false,
			[]step{out("GET /slow HTTP/1.1\r\n"), in("SSH-2.0-x\r\n"), end(Closed)},
			[]string{"client GET /slow incomplete 1.1 0 20@1-1 11@0-2 not_http request~ response~"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newTape(test.join)
			p.play(test.steps...)
			if diff := cmp.Diff(test.want, p.rows); diff != "" {
				t.Errorf("exchanges (-want +got):\n%s\n%+v", diff, p.to.Counts)
			}
		})
	}
}

func bytewise(dir func(string) step, data string) (steps []step) {
	for i := range data {
		steps = append(steps, dir(data[i:i+1]))
	}
	return steps
}
