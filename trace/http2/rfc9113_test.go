package http2

import (
	"strings"
	"testing"

	"tracer/trace/message"
)

// RFC 9113, 8.1: a request, an answer; both with DATA.
func TestExchange(t *testing.T) {
	p := begun(t)
	h := p.cl.headers(1, true, get("/a")...)
	p.out(h)
	a := p.sv.headers(1, false, ":status: 200", "content-type: text/plain")
	p.in(a)
	p.want()
	p.in(data(1, false, 10))
	p.in(data(1, true, 0))
	p.want(rowf("client 1 GET /a at h 200 %d@3-3 %d@4-6", len(h), len(a)+9+10+9))
	h = p.cl.headers(3, false, post("/b")...)
	p.out(h, data(3, false, 100))
	p.out(data(3, true, 5))
	a = p.sv.headers(3, true, ":status: 204")
	p.in(a)
	p.want(rowf("client 3 POST /b at h 204 %d@7-8 %d@9-9", len(h)+109+14, len(a)))
	p.counts(Counts{})
	if p.c.Kind() != HTTP2 || p.c.Busy(1) || p.c.Busy(3) {
		t.Error("it is not over")
	}
}

// The server's end sees the same.
func TestServersEnd(t *testing.T) {
	p := newTape(t)
	p.role = Server
	p.out(preface+settings(), p.cl.headers(1, true, get("/a")...))
	p.in(settings(), p.sv.headers(1, true, ":status: 404"))
	p.want("server 1 GET /a at h 404 18@1-1 10@2-2")
}

// RFC 9113, 5: streams are answered in any order.
func TestAnswersOutOfOrder(t *testing.T) {
	p := begun(t)
	for id := uint32(1); id <= 9; id += 2 {
		p.out(p.cl.headers(id, true, get("/"+string(rune('a'+id)))...))
	}
	for _, id := range []uint32{5, 9, 1, 3, 7} {
		p.in(p.sv.headers(id, false, ":status: "+map[bool]string{true: "200", false: "503"}[id%4 == 1]))
	}
	for _, id := range []uint32{7, 3, 5, 1, 9} {
		p.in(data(id, true, int(id)))
	}
	p.want(
		"client 7 GET /h at h 503 16@6-6 26@12-13", "client 3 GET /d at h 503 16@4-4 26@11-14",
		"client 5 GET /f at h 200 16@5-5 24@8-15", "client 1 GET /b at h 200 18@3-3 20@10-16", "client 9 GET /j at h 200 16@7-7 28@9-17")
}

// RFC 9110, 15.2: an interim answer is not the answer. RFC 9113, 8.1: trailers neither.
func TestInterimAndTrailers(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, get("/a")...))
	p.in(p.sv.headers(1, false, ":status: 103", "link: </x>"))
	p.in(p.sv.headers(1, false, ":status: 100"))
	if p.c.Waiting() != 1 {
		t.Error("an interim answer is taken for the answer")
	}
	p.in(p.sv.headers(1, false, ":status: 200"))
	p.in(data(1, false, 1))
	p.in(p.sv.headers(1, true, "x-checksum: 1", "grpc-status: 3"))
	p.want("client 1 GET /a at h 200 18@3-3 85@6-8")

	// Trailers of a request.
	p.out(p.cl.headers(3, false, post("/b")...), data(3, false, 3))
	p.in(p.sv.headers(3, false, ":status: 200"))
	p.out(p.cl.headers(3, true, "x-trailer: 1"))
	p.in(data(3, true, 0))
	p.want("client 3 POST /b at h 200 48@9-11 19@10-12")
	p.counts(Counts{})
}

// RFC 9113, 8.1: the exchange is over with the answer. What the client still sends is
// not of interest, and RST_STREAM(NO_ERROR) no error: nginx sends it.
func TestAnswerBeforeTheRequestEnds(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, false, post("/up")...), data(1, false, 1000))
	p.in(p.sv.headers(1, true, ":status: 413"))
	p.in(rst(1, noError))
	p.out(data(1, false, 1000))
	p.out(data(1, true, 0))
	p.out(rst(1, noError))
	p.close(Closed)
	p.want("client 1 POST /up at h 413 1028@3-3 14@4-4 ~request")
	p.counts(Counts{})
}

// RFC 9113, 5.4.2 and 7.
func TestResets(t *testing.T) {
	for code, name := range map[Code]string{
		0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR", 4: "SETTINGS_TIMEOUT", 5: "STREAM_CLOSED",
		6: "FRAME_SIZE_ERROR", 7: "REFUSED_STREAM", 8: "CANCEL", 9: "COMPRESSION_ERROR", 10: "CONNECT_ERROR",
		11: "ENHANCE_YOUR_CALM", 12: "INADEQUATE_SECURITY", 13: "HTTP_1_1_REQUIRED", 14: "0xe", 0xfffffffe: "0xfffffffe",
	} {
		p := begun(t)
		p.out(p.cl.headers(1, true, get("/a")...))
		p.out(p.cl.headers(3, false, get("/b")...))
		p.in(rst(1, code))
		p.in(p.sv.headers(3, false, ":status: 200"), data(3, false, 7))
		p.out(rst(3, code))
		// What the other side sends meanwhile is read for the table, and not told.
		p.in(p.sv.headers(3, true, "x: y"), p.sv.headers(1, true, ":status: 201", "later: 1"))
		p.out(p.cl.headers(5, true, get("/c")...))
		p.in(p.sv.headers(5, true, ":status: 201"))
		p.want("client 1 GET /a at h reset "+name+" by server 18@3-3 0@0-5",
			"client 3 GET /b at h 200 reset "+name+" by client 16@4-4 26@6-7 ~request",
			"client 5 GET /c at h 201 16@9-9 10@10-10")
		p.counts(Counts{})
	}
}

// RFC 9113, 6.8: streams above the last one were not processed, those below go on.
func TestGoAway(t *testing.T) {
	p := begun(t)
	for id := uint32(1); id <= 7; id += 2 {
		p.out(p.cl.headers(id, true, get("/a")...))
	}
	p.in(goAway(1<<31-1, noError, "")) // a server that is about to end begins with this
	p.want()
	p.in(goAway(3, calm, "too_many_pings"))
	p.want("client 7 GET /a at h closed by server 13@6-6 0@0-8", "client 5 GET /a at h closed by server 13@5-5 0@0-8")
	p.in(p.sv.headers(1, true, ":status: 200"))
	p.out(p.cl.headers(9, true, get("/late")...))
	p.want("client 1 GET /a at h 200 18@3-3 10@9-9", "client 9 GET /late at h closed by server 18@10-10 0@0-10")
	p.close(Closed)
	p.want("client 3 GET /a at h closed 13@4-4 0@0-11")
	p.counts(Counts{})

	// At a normal end it is no error: Node, h2load, grpc-go and grpc-js send it.
	p = begun(t)
	p.out(p.cl.headers(1, true, get("/a")...))
	p.in(p.sv.headers(1, true, ":status: 200"))
	p.out(goAway(0, noError, ""))
	p.close(Closed)
	p.want("client 1 GET /a at h 200 18@3-3 10@4-4")
}

// What has no answer when the connection ends.
func TestClose(t *testing.T) {
	for why, name := range map[Ending]string{Closed: "closed", Reset: "reset", Timeout: "timeout", Complete: "closed"} {
		p := begun(t)
		p.out(p.cl.headers(1, true, get("/a")...))
		p.out(p.cl.headers(3, false, post("/b")...), data(3, false, 1))
		p.in(p.sv.headers(1, false, ":status: 200"), data(1, false, 3))
		p.close(why)
		p.want("client 1 GET /a at h 200 "+name+" 18@3-3 22@5-6", "client 3 POST /b at h "+name+" 26@4-4 0@0-6 ~request")
		if !p.c.Opaque() || p.c.Kind() != HTTP2 {
			t.Error("it goes on")
		}
		p.counts(Counts{})
	}
}

// RFC 9110, 9.3.2.
func TestHEAD(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, ":method: HEAD", ":scheme: http", ":path: /a", ":authority: h"))
	p.in(p.sv.headers(1, true, ":status: 200", "content-length: 1000"))
	p.want("client 1 HEAD /a at h 200 23@3-3 15@4-4")
}

// RFC 9113, 8.5: a tunnel is open until both sides have ended it. It has no path.
func TestCONNECT(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, false, ":method: CONNECT", ":authority: db:5432"))
	p.in(p.sv.headers(1, false, ":status: 200"))
	p.out(data(1, false, 20))
	p.in(data(1, true, 30))
	p.want()
	p.out(data(1, true, 5))
	p.want("client 1 CONNECT - at db:5432 200 69@3-7 49@4-7")
	p.in(data(1, true, 0)) // nothing is left of it

	// One that is refused is over with the answer.
	p.out(p.cl.headers(3, false, ":method: CONNECT", ":authority: no:1"))
	p.in(p.sv.headers(3, true, ":status: 502"))
	p.want("client 3 CONNECT - at no:1 502 15@9-9 13@10-10 ~request")

	// RFC 8441: a websocket has a path.
	p.out(p.cl.headers(5, false, ":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /chat", ":authority: h"))
	p.in(p.sv.headers(5, false, ":status: 200"))
	p.in(data(5, false, 10))
	p.out(data(5, true, 0))
	p.in(rst(5, cancel))
	p.want("client 5 CONNECT /chat at h 200 reset CANCEL by server 46@11-14 29@12-15")

	// The tunnel's end at one side, and that of the connection.
	p.out(p.cl.headers(7, false, ":method: CONNECT", ":authority: db:5432"))
	p.in(p.sv.headers(7, true, ":status: 200"))
	p.close(Closed)
	p.want("client 7 CONNECT - at db:5432 200 11@16-16 10@17-17 ~request ~response")
}

// RFC 9113, 6.1, 6.2 and 6.3; DataDog#39366: support of PRIORITY was lost once.
func TestPaddingAndPriority(t *testing.T) {
	p := begun(t)
	block := p.cl.block(get("/a")...)
	prio := "\x80\x00\x00\x03\xff"
	for _, s := range []string{
		rawFrame(frameHeaders, flagEndHeaders|flagEndStream|flagPriority, 1, prio+block),
		rawFrame(frameHeaders, flagEndHeaders|flagEndStream|flagPadded, 3, "\x00"+p.cl.block(get("/b")...)),
		rawFrame(frameHeaders, flagEndHeaders|flagEndStream|flagPadded|flagPriority, 5, "\x03"+prio+p.cl.block(get("/c")...)+"\x82\x82\x82"),
		rawFrame(framePriority, 0, 9, prio),
		rawFrame(frameHeaders, flagEndHeaders|flagPadded, 7, "\xff"+p.cl.block(get("/d")...)+strings.Repeat("\x00", 255)),
		rawFrame(frameData, flagPadded|flagEndStream, 7, "\x05"+"abc"+"\x00\x00\x00\x00\x00"),
	} {
		p.out(s)
	}
	for id := uint32(1); id <= 7; id += 2 {
		p.in(p.sv.headers(id, false, ":status: 200"), rawFrame(frameData, flagPadded|flagEndStream, id, "\x09"+strings.Repeat("x", 9)))
	}
	p.want("client 1 GET /a at h 200 23@3-3 29@9-9", "client 3 GET /b at h 200 17@4-4 29@10-10",
		"client 5 GET /c at h 200 25@5-5 29@11-11", "client 7 GET /d at h 200 290@7-8 29@12-12")
	p.counts(Counts{})

	// More padding than there is room for.
	p.out(rawFrame(frameHeaders, flagEndHeaders|flagPadded, 9, "\xff"+p.cl.block(get("/d")...)))
	p.counts(Counts{Resyncs: 1})
}

// RFC 9113, 6.10. DataDog#22635, qtap#300: gRPC's C core sends these. Empty fragments
// are legal.
func TestContinuation(t *testing.T) {
	p := begun(t)
	for i, cuts := range [][]int{{5}, {0}, {0, 0, 3}, {1, 2, 3, 4, 5}, {1000}} {
		id := uint32(2*i + 1)
		block := p.cl.block(get("/a", "n: "+string(rune('a'+i)))...)
		kind, flags, s, n := byte(frameHeaders), byte(flagEndStream|flagPadded), "", 0
		for _, cut := range append(cuts, 1000) {
			cut = min(cut, len(block))
			part := block[:cut]
			if block = block[cut:]; kind == frameHeaders {
				part = "\x02" + part + "pp"
			}
			if cut == len(part) && block == "" && kind == frameContinuation && n == len(cuts) {
				flags |= flagEndHeaders
			}
			s += rawFrame(kind, flags, id, part)
			kind, flags, n = frameContinuation, 0, n+1
		}
		for i := range s { // each byte a call
			p.out(s[i : i+1])
		}
		answer := p.sv.block(":status: 200", "n: 1")
		p.in(rawFrame(frameHeaders, flagEndStream, id, answer[:1]), rawFrame(frameContinuation, flagEndHeaders, id, answer[1:]))
	}
	got := 0
	for i, r := range p.rows {
		if strings.HasPrefix(r, rowf("client %d GET /a at h 200 ", 2*i+1)) {
			got++
		}
	}
	if got != 5 || len(p.rows) != 5 {
		t.Errorf("%q", p.rows)
	}
	p.counts(Counts{})
}

// RFC 9113, 6.10: nothing may stand in a header block.
func TestFrameWithinABlock(t *testing.T) {
	for _, s := range []string{ping, window, data(1, false, 1), rawFrame(frameContinuation, flagEndHeaders, 3, ""), rawHeaders(3, true, "\x82")} {
		p := begun(t)
		p.out(rawFrame(frameHeaders, 0, 1, p.cl.block(get("/a")...)), s)
		p.counts(Counts{Resyncs: 1})
		p.close(Closed)
		p.want()
	}
}

// RFC 9113, 4.1, 5.5: R is ignored, unknown types are, and so are frames that say nothing
// of exchanges.
func TestOtherFrames(t *testing.T) {
	p := begun(t)
	s := []byte(p.cl.headers(1, true, get("/a")...))
	s[5] |= 0x80
	p.out(ping, window, grease, string(s), rawFrame(framePriority, 0, 3, "\x00\x00\x00\x00\x01"), rawFrame(0x10, 0, 0, "u=1"))
	p.in(rawFrame(frameSettings, flagAck, 0, ""), rawFrame(0xa, 0, 0, "\x00\x00altsvc"), rawFrame(0xc, 0, 0, "\x00\x01o"), p.sv.headers(1, true, ":status: 200"), ping)
	p.want("client 1 GET /a at h 200 18@3-3 10@4-4")
	p.counts(Counts{})
}

// RFC 9113, 6: frames that cannot be like this are none.
func TestFramesThatDoNotFit(t *testing.T) {
	for name, s := range map[string]string{
		"HEADERS of no stream":         rawHeaders(0, true, "\x82"),
		"HEADERS without its padding":  rawFrame(frameHeaders, flagPadded, 3, ""),
		"HEADERS without its priority": rawFrame(frameHeaders, flagPriority, 3, "123"),
		"DATA of no stream":            data(0, true, 1),
		"DATA without its padding":     rawFrame(frameData, flagPadded, 1, ""),
		"RST_STREAM of no stream":      rst(0, 0),
		"RST_STREAM of 5 bytes":        rawFrame(frameReset, 0, 1, "12345"),
		"SETTINGS of a stream":         rawFrame(frameSettings, 0, 1, ""),
		"SETTINGS of 7 bytes":          rawFrame(frameSettings, 0, 0, "1234567"),
		"ACK of SETTINGS with some":    rawFrame(frameSettings, flagAck, 0, "123456"),
		"PUSH_PROMISE of no stream":    rawFrame(framePromise, flagEndHeaders, 0, "\x00\x00\x00\x02\x82"),
		"PUSH_PROMISE of 3 bytes":      rawFrame(framePromise, flagEndHeaders, 1, "123"),
		"PING of 7 bytes":              rawFrame(framePing, 0, 0, "1234567"),
		"PING of a stream":             rawFrame(framePing, 0, 1, "12345678"),
		"GOAWAY of 7 bytes":            rawFrame(frameGoAway, 0, 0, "1234567"),
		"GOAWAY of a stream":           rawFrame(frameGoAway, 0, 1, "12345678"),
		"WINDOW_UPDATE of 5 bytes":     rawFrame(frameWindow, 0, 1, "12345"),
		"PRIORITY of no stream":        rawFrame(framePriority, 0, 0, "12345"),
		"PRIORITY of 4 bytes":          rawFrame(framePriority, 0, 1, "1234"),
		"CONTINUATION of no stream":    rawFrame(frameContinuation, 0, 0, ""),
	} {
		p := begun(t)
		p.out(p.cl.headers(1, true, get("/a")...))
		p.in(s, p.sv.headers(1, true, ":status: 200"))
		if p.to.Resyncs != 1 || len(p.rows) > 0 {
			t.Errorf("%s: %+v, %q", name, p.to.Counts, p.rows)
		}
		p.close(Closed)
		p.want("gave up client 1 GET /a at h 18@3-3 0@0-0 ~response")
	}
}

// RFC 9113, 8.4: the request is what was promised.
func TestPush(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, get("/a")...))
	promise := func(on, id uint32, lines ...string) string {
		return rawFrame(framePromise, flagEndHeaders|flagPadded, on, "\x01"+string([]byte{0, 0, 0, byte(id)})+p.sv.block(lines...)+"p")
	}
	p.in(p.sv.headers(1, false, ":status: 200"), promise(1, 2, get("/style.css")...), promise(1, 4, get("/x.js")...))
	p.in(p.sv.headers(2, false, ":status: 200"))
	p.in(data(1, true, 0), data(2, true, 10))
	p.out(rst(4, cancel))
	p.want("client 1 GET /a at h 200 18@3-3 19@4-6", "client 2 GET /style.css at h 200 29@4-4 29@5-6",
		"client 4 GET /x.js at h reset CANCEL by client 24@4-4 0@0-7")
	// RFC 9113, 6.8: the client says which of these it takes.
	p.in(promise(1, 6, get("/y")...))
	p.out(goAway(4, 0, ""))
	p.in(promise(1, 8, get("/z")...))
	p.want("client 6 GET /y at h closed by client 22@8-8 0@0-9", "client 8 GET /z at h closed by client 22@10-10 0@0-10")
	p.counts(Counts{})
}

// RFC 7540, 3.2: h2c. The request of HTTP/1 is stream 1, whose answer comes behind 101,
// in the same call or not.
func TestUpgrade(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		p := newTape(t)
		p.role, p.off = role, [2]uint64{120, 0}
		asks := Sent ^ Direction(role)
		u := &message.Upgrade{Request: Exchange{
			Role: role, Method: []byte("GET"), Target: []byte("/up"), Host: []byte("h"), Minor: 1,
			RequestStart: -3, RequestEnd: -2, RequestOffset: 20, RequestBytes: 100}}
		u.Next[asks], u.Next[asks^1] = 120, 60
		p.c.Adopt(u, &p.to)
		if since, ok := p.c.Oldest(); !ok || since != -2 || p.c.Kind() != HTTP2 || !p.c.Busy(1) {
			t.Error("the request does not wait")
		}
		p.in(strings.Repeat("1", 60), settings(), p.sv.headers(1, false, ":status: 200")) // the 101 is passed over
		p.out(preface, settings())
		p.in(data(1, true, 5))
		p.out(p.cl.headers(3, true, get("/b")...))
		p.in(p.sv.headers(3, true, ":status: 200"))
		p.want(role.String()+" 1 GET /up at h 200 100@-3--2 24@1-3", role.String()+" 3 GET /b at h 200 18@4-4 10@5-5")
		p.counts(Counts{})
	}
}

// RFC 9113, 3.4: what does not begin like this is something else.
func TestPreface(t *testing.T) {
	p := newTape(t)
	for i := range preface { // each byte a call
		p.out(preface[i : i+1])
	}
	p.in(settings())
	p.out(settings(), p.cl.headers(1, true, get("/a")...))
	p.in(p.sv.headers(1, true, ":status: 200"))
	p.want("client 1 GET /a at h 200 18@26-26 10@27-27")

	for name, s := range map[string][2]string{
		"another word":     {"PRI * HTTP/1.1\r\n", settings()},
		"no SETTINGS":      {preface + ping, settings()},
		"TLS":              {"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\x03", ""},
		"a server without": {preface + settings(), rawHeaders(1, true, "\x88")},
		"random bytes":     {"\xf3\x7a\x81\x00\x12\x99\x34\x55\x61\x77\x88\x99", ""},
		"both sides':":     {preface + settings(), preface},
		"neither":          {settings(), settings()},
		"HTTP/1":           {"GET / HTTP/1.1\r\n", ""},
		"Kafka":            {"\x00\x00\x00\x24\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07console", ""},
	} {
		p := newTape(t)
		p.out(s[0])
		p.in(s[1])
		if !p.c.Opaque() || len(p.rows) > 0 {
			t.Errorf("%s: opaque %v, %q", name, p.c.Opaque(), p.rows)
		}
	}
}
