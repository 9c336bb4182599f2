package http2

import (
	"strings"
	"testing"

	"tracer/trace/stream"
)

type Run = stream.Run

// walk feeds what a source that follows frames would of data: see Segment.Framed.
func (p *tape) walk(dir Direction, skipped int, data string, runs ...Run) {
	p.now++
	p.off[dir] += uint64(skipped)
	s := Segment{Dir: dir ^ Direction(p.role), Offset: p.off[dir], Size: uint64(len(data)), Data: []byte(data), Time: p.now, Last: p.now,
		Framed: true, Skipped: uint64(skipped), Runs: runs}
	p.off[dir] += s.Size
	p.c.Feed(&s, &p.to)
}

// A source that follows frames leaves DATA out.
func TestWalked(t *testing.T) {
	p := newTape(t)
	p.walk(Sent, 0, preface+settings())
	p.walk(Received, 0, settings())
	p.walk(Sent, 13, p.cl.headers(1, false, post("/a")...))
	p.walk(Sent, 1018+17, "", Run{Stream: 1, Frames: 2, Bytes: 1018, First: 3, Last: 4, End: true})
	p.walk(Received, 0, p.sv.headers(1, false, ":status: 200"))
	p.walk(Received, 500, "", Run{Stream: 1, Frames: 1, Bytes: 500, First: 6, Last: 6})
	p.walk(Received, 70009, p.sv.headers(3, true, ":status: 200"), Run{Stream: 1, Frames: 5, Bytes: 70009, First: 6, Last: 7, End: true})
	p.walk(Sent, 0, p.cl.headers(3, true, get("/b")...))
	p.want("client 1 POST /a at h 200 1036@3-4 70519@5-7", "client 3 GET /b at h 200 16@8-8 10@7-7")
	p.counts(Counts{})

	// A frame in parts, over segments.
	h := p.cl.headers(5, true, get("/c")...)
	p.walk(Sent, 26, h[:3])
	p.walk(Sent, 0, h[3:12])
	p.walk(Sent, 0, h[12:])
	p.walk(Received, 13, p.sv.headers(5, true, ":status: 200"))
	p.want("client 5 GET /c at h 200 16@9-11 10@12-12")
	p.counts(Counts{})

	// Of one that is not whole the rest cannot be left out.
	p.walk(Sent, 0, h[:3])
	p.walk(Sent, 13, "")
	p.counts(Counts{Resyncs: 1})
}

// A gap in the answers: a stream of which nothing more is seen may be over, and is not
// told to be stuck or unanswered. One that goes on is told.
func TestGapInAnswers(t *testing.T) {
	p := begun(t)
	for id := uint32(1); id <= 11; id += 2 {
		p.out(p.cl.headers(id, true, get("/a")...))
	}
	p.in(p.sv.headers(9, false, ":status: 206"))
	p.miss(Received, p.sv.headers(1, true, ":status: 200")+p.sv.headers(3, false, ":status: 404", "x: new"))
	if p.c.Waiting() != 5 {
		t.Error(p.c.Waiting())
	}
	p.walk(Received, 0, p.sv.headers(5, true, ":status: 204"))
	p.walk(Received, 100, "", Run{Stream: 3, Frames: 1, Bytes: 100, First: 9, Last: 9, End: true}) // its head was lost
	if _, ok := p.c.Oldest(); ok || p.c.Waiting() != 0 {
		t.Error("a request in doubt is waited for")
	}
	p.c.Stuck(1000, &p.to)
	p.walk(Received, 50, "", Run{Stream: 9, Frames: 1, Bytes: 50, First: 9, Last: 9, End: true}) // it was answered before
	p.in(rst(11, cancel))                                                                        // its answer may have been whole
	p.out(p.cl.headers(13, true, get("/d")...))                                                  // this one is not in doubt
	p.close(Reset)
	p.want("client 5 GET /a at h 204 13@5-5 10@10-10 ~response",
		"client 3 GET /a at h 13@4-4 100@0-9 ~response",
		"client 9 GET /a at h 206 13@7-7 60@9-9 ~response",
		"gave up client 11 GET /a at h 13@8-8 0@0-0 ~response",
		"gave up client 1 GET /a at h 18@3-3 0@0-0 ~response",
		"gave up client 7 GET /a at h 13@6-6 0@0-0 ~response",
		"client 13 GET /d at h reset 16@14-14 0@0-15")
	p.counts(Counts{Lost: 3})
}

// A gap in the requests: what was missed is given up with its answer, and only then.
func TestGapInRequests(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, get("/a")...))
	p.out(p.cl.headers(3, false, post("/b")...))
	p.miss(Sent, p.cl.headers(5, true, get("/new")...)+p.cl.headers(7, true, get("/new")...)+data(3, true, 4))
	p.in(p.sv.headers(5, false, ":status: 200"))
	if !p.c.Holds() {
		t.Error("its request may come")
	}
	p.walk(Sent, 0, p.cl.headers(9, true, get("/new")...)) // its path refers to what was missed
	if p.c.Holds() {
		t.Error("its request cannot come any more")
	}
	p.in(data(5, true, 1), p.sv.headers(9, true, ":status: 200"), p.sv.headers(7, false, ":status: 500"), p.sv.headers(3, true, ":status: 201"))
	p.in(data(7, true, 1), p.sv.headers(1, true, ":status: 200"))
	p.in(rst(5, noError)) // nothing is left of it
	p.close(Closed)
	p.want("gave up client 5 - - at - 200 0@0-0 10@5-0 ~request",
		"client 9 GET - at - 200 13@6-6 10@7-7",
		"gave up client 7 - - at - 500 0@0-0 10@7-0 ~request",
		"client 3 POST /b at h 201 16@4-4 13@7-7 ~request",
		"client 1 GET /a at h 200 18@3-3 10@8-8")
	p.counts(Counts{Unmatched: 2, Unknown: 1})
}

// An answer may be told before its request, by another thread.
func TestAnswerToldFirst(t *testing.T) {
	p := begun(t)
	p.in(p.sv.headers(1, false, ":status: 200", "content-type: application/grpc"))
	p.in(data(1, false, 5), p.sv.headers(1, true, "grpc-status: 5", "grpc-message: no%20"))
	p.in(rst(3, cancel))
	p.in(p.sv.headers(5, false, ":status: 200"))
	p.want()
	if !p.c.Holds() || !p.c.Busy(1) {
		t.Error("they do not wait")
	}
	p.out(p.cl.headers(1, true, grpcCall("/a.B/C")...), p.cl.headers(3, true, get("/b")...), p.cl.headers(5, false, post("/c")...))
	if p.c.Holds() {
		t.Error("they wait")
	}
	p.out(data(5, true, 0))
	p.in(data(5, true, 0))
	p.want(`client 1 POST /a.B/C at h 200 grpc 5 "no " 57@7-7 74@3-4`, "client 3 GET /b at h reset CANCEL by server 16@7-7 0@0-5",
		"client 5 POST /c at h 200 25@7-8 19@6-9")
	p.counts(Counts{})

	// Its request does not come.
	p.in(p.sv.headers(7, false, ":status: 200"))
	p.in(p.sv.headers(9, true, ":status: 404"))
	p.c.Settle(8, &p.to)
	p.want()
	p.c.Settle(100, &p.to)
	p.want("gave up client 7 - - at - 200 0@0-0 10@10-0 ~request", "gave up client 9 - - at - 404 0@0-0 10@11-11 ~request ~response")
	p.in(data(7, false, 1))
	p.out(p.cl.headers(7, true, get("/late")...), p.cl.headers(9, true, get("/late")...)) // they come after all
	p.in(data(7, true, 1))
	p.close(Closed)
	p.want()
	p.counts(Counts{Unmatched: 2})
}

// A connection that is older than tracing: see H2.md 15 for what peers insert.
func TestJoined(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, get("/old")...), p.cl.headers(3, true, get("/b")...), p.cl.headers(5, false, post("/up")...))
	p.c.Reset(true)
	p.off = [2]uint64{} // and begins here
	p.now = 0
	p.walk(Received, 9, p.sv.headers(1, true, ":status: 200"), Run{Stream: 9, Frames: 1, Bytes: 9, First: 1, Last: 1}) // answers to what was not seen
	p.walk(Received, 0, p.sv.headers(3, false, ":status: 302", "x: 1"))
	p.walk(Sent, 100, p.cl.headers(5, true, "trailer: 1"), Run{Stream: 5, Frames: 1, Bytes: 100, First: 1, Last: 1})
	if p.c.Kind() != HTTP2 {
		t.Error(p.c.Kind())
	}
	p.c.Settle(100, &p.to)
	p.walk(Sent, 0, p.cl.headers(7, true, get("/old")...)) // whole by reference
	p.walk(Sent, 0, p.cl.headers(9, true, get("/new")...))
	p.walk(Received, 0, p.sv.headers(3, true, "t: 1"))
	p.walk(Received, 0, p.sv.headers(9, false, ":status: 302")) // by an entry that was seen
	p.walk(Received, 0, p.sv.headers(7, true, ":status: 200"))
	p.walk(Received, 10, "", Run{Stream: 9, Frames: 1, Bytes: 10, First: 9, Last: 9, End: true})
	p.close(Closed)
	p.want("client 7 GET - at - 200 13@4-4 10@8-8", "client 9 GET /new at - 302 17@5-5 20@7-9")
	p.counts(Counts{Unknown: 2})
}

// Which way requests go is told by what they say, not by ports or order.
func TestJoinedRoles(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		p := newTape(t)
		p.role = role
		p.c.Reset(true)
		p.in(p.sv.headers(1, false, "x: 1")) // this says nothing
		p.c.Reset(true)
		p.off = [2]uint64{}
		p.walk(Received, 0, p.sv.headers(1, false, "x: 1"))
		if p.c.Kind() != Unknown {
			t.Error(p.c.Kind())
		}
		p.walk(Received, 0, p.sv.headers(1, false, ":status: 200"))
		p.walk(Sent, 0, p.cl.headers(3, true, get("/b")...))
		p.walk(Received, 0, p.sv.headers(3, true, ":status: 200"))
		if len(p.rows) != 1 || !strings.HasPrefix(p.rows[0], role.String()+" 3 GET /b at h 200") {
			t.Errorf("%q", p.rows)
		}
		p.counts(Counts{Unknown: p.to.Unknown})
	}
}

// An answer whose status refers to what was not seen.
func TestStatusUnknown(t *testing.T) {
	p := begun(t)
	for id := uint32(1); id <= 11; id += 2 {
		p.out(p.cl.headers(id, true, get("/a")...))
	}
	p.sv.block(":status: 302", "t: 1", ":status: 103") // these were missed
	unknown302 := func(id uint32, end bool) string { return p.sv.headers(id, end, ":status: 302") }
	p.miss(Received, "lost")
	p.walk(Received, 0, unknown302(1, true)) // trailers, maybe
	p.walk(Received, 0, unknown302(3, false))
	p.walk(Received, 9, "", Run{Stream: 3, Frames: 1, Bytes: 9, First: 11, Last: 11, End: true})
	p.walk(Received, 0, p.sv.headers(5, false, ":status: 103"))
	p.walk(Received, 0, unknown302(5, false))
	p.walk(Received, 0, p.sv.headers(5, true, "t: 1")) // trailers, by an index, as is a status
	p.walk(Received, 0, unknown302(7, false))
	p.walk(Received, 0, p.sv.headers(7, true, "new: 1"))
	p.walk(Received, 0, p.sv.headers(9, false, ":status: 103"))
	p.walk(Received, 0, p.sv.headers(9, true, ":status: 404"))
	p.walk(Received, 0, p.sv.headers(11, true, "new: 1")) // the rest of one whose head was missed
	p.want("client 1 GET /a at h 18@3-3 10@0-9 ~response", "client 3 GET /a at h 13@4-4 19@10-11 ~response",
		"client 5 GET /a at h 13@5-5 30@0-14 ~response", "client 7 GET /a at h 13@6-6 26@15-16 ~response",
		"client 9 GET /a at h 404 13@7-7 20@18-18 ~response", "client 11 GET /a at h 13@8-8 10@0-19 ~response")

	// Where nothing was missed since the request, a head without DATA or trailers is the
	// answer.
	p.out(p.cl.headers(13, true, get("/a")...), p.cl.headers(15, true, get("/a")...))
	p.walk(Received, 0, unknown302(13, true))
	p.walk(Received, 0, unknown302(15, false))
	p.c.Stuck(1000, &p.to)
	p.miss(Received, "lost") // so that may have been an interim one
	p.walk(Received, 9, "", Run{Stream: 15, Frames: 1, Bytes: 9, First: 22, Last: 22, End: true})
	p.want("client 13 GET /a at h 13@20-20 10@21-21", "client 15 GET /a at h 13@20-20 19@0-22 ~response")
}

// The place of frames is found again where a call is a chain of them with a header block
// that is whole (H2.md 16), and nowhere else.
func TestResync(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, get("/a")...), p.cl.headers(3, true, get("/a")...))
	p.miss(Received, "lost")
	for _, s := range []string{
		strings.Repeat("x", 100),
		"\x00\x00\x00\x24\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07console", // Kafka
		"\x17\x03\x03\x00\x20" + strings.Repeat("\x91", 32),               // TLS
		"J\x00\x00\x00\x0a8.0.36\x00\x12",                                 // MySQL
		data(1, true, 100),                                                // no header block
		rawHeaders(1, true, "\x88\x40"),                                   // not whole
		rawHeaders(1, true, "\x88\x20"),                                   // RFC 7541, 4.2
		rawHeaders(1, true, ""),                                           // empty
		rawHeaders(1, true, "\x88") + "\x00\x00\x05" + ping[3:],           // the next does not fit
		rawHeaders(1, true, "\x88")[:9],                                   // cut
		rawFrame(frameHeaders, flagEndHeaders|flagPadded, 1, "\x09\x88"),
	} {
		p.in(s)
	}
	p.want()
	p.in(ping, data(3, false, 3), p.sv.headers(1, true, ":status: 200"), data(3, false, 10)[:12])
	p.in(data(3, false, 10)[12:])
	p.in(p.sv.headers(3, true, "t: 1"))
	p.want("client 1 GET /a at h 200 18@3-3 10@15-15 ~response", "client 3 GET /a at h 13@3-3 45@0-17 ~response")
	p.counts(Counts{})
}

// What lies in the payload of DATA may be missing: its length is known.
func TestGapWithinDATA(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, get("/a")...))
	p.feed(Received, p.sv.headers(1, false, ":status: 200")+data(1, false, 5000)[:100], 2000) // the first bytes of a call
	p.miss(Received, strings.Repeat("d", 5009-100-2000))
	p.feed(Received, data(1, true, 70000)[:9], 70000)
	p.want("client 1 GET /a at h 200 18@3-3 75028@4-5 ~time")
	p.counts(Counts{})
}
