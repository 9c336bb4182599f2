package http2

import (
	"strings"
	"testing"
)

// Strangers can open as many streams as they like: what is beyond the limit is counted.
func TestStreamsAreBounded(t *testing.T) {
	p := begun(t)
	gaveUp := 0
	p.to.GaveUp = func(x *Exchange) {
		if string(x.Target) != "/a" || x.RequestStart == 0 {
			t.Fatal(row(x))
		}
		gaveUp++
	}
	n := uint32(3 * maxStreams)
	for i := range n {
		p.out(p.cl.headers(2*i+1, true, get("/a")...))
	}
	if len(p.c.list) != maxStreams || gaveUp != 2*maxStreams {
		t.Error(len(p.c.list), gaveUp)
	}
	for i := range n {
		p.in(p.sv.headers(2*i+1, true, ":status: 200"))
	}
	if len(p.rows) != maxStreams || len(p.c.list) != 0 {
		t.Error(len(p.rows), len(p.c.list))
	}
	p.counts(Counts{Overflow: 2 * maxStreams})

	// Those in doubt make room first.
	p = begun(t)
	for i := range uint32(maxStreams) {
		p.out(p.cl.headers(2*i+1, true, get("/a")...))
	}
	p.miss(Received, "lost")
	p.walk(Received, 0, p.sv.headers(3, false, ":status: 200"))
	p.out(p.cl.headers(2*maxStreams+1, true, get("/new")...))
	p.want("gave up client 1 GET /a at h 18@3-3 0@0-0 ~response")
	p.c.GiveUp(&p.to)
	p.rows = nil
	p.counts(Counts{Lost: maxStreams - 1})
	p.close(Closed)
	if len(p.rows) != 2 {
		t.Errorf("%q", p.rows)
	}
}

func TestOrphansAreBounded(t *testing.T) {
	p := begun(t)
	for i := range uint32(2 * maxOrphans) {
		p.in(p.sv.headers(2*i+1, false, ":status: 200"))
	}
	if len(p.c.list) != maxOrphans || p.c.orphans != maxOrphans {
		t.Error(len(p.c.list), p.c.orphans)
	}
	p.counts(Counts{Unmatched: maxOrphans})
	p.close(Closed)
	p.counts(Counts{Unmatched: 2 * maxOrphans})
	if len(p.rows) != 2*maxOrphans {
		t.Error(len(p.rows))
	}
}

// Huge header blocks: those up to the limit are read, of others nothing is known.
func TestBlocksAreBounded(t *testing.T) {
	p := begun(t)
	huge := func(id uint32, n int) (s string) {
		block := p.cl.block(append(get("/huge"), "!cookie: "+strings.Repeat("\x01", n))...)
		for kind := byte(frameHeaders); ; kind = frameContinuation {
			part := block[:min(len(block), 16384)]
			if block = block[len(part):]; block == "" {
				return s + rawFrame(kind, flagEndStream|flagEndHeaders, id, part)
			}
			s += rawFrame(kind, flagEndStream, id, part)
		}
	}
	p.out(huge(1, 30<<10))
	p.out(huge(3, 200<<10))
	p.out(huge(5, 300<<10))
	if n := cap(p.c.flows[Sent].buf); n > maxSpareText {
		t.Error(n, "bytes are kept")
	}
	p.out(rawHeaders(7, true, p.cl.block(append(get("/huge"), "!cookie: "+strings.Repeat("\x01", 300<<10))...))) // in one frame
	s := huge(9, 300<<10)
	for len(s) > 0 { // in calls
		n := min(len(s), 10000)
		p.out(s[:n])
		s = s[n:]
	}
	p.out(p.cl.headers(11, true, get("/new")...))
	for id := uint32(1); id <= 11; id += 2 {
		p.in(p.sv.headers(id, true, ":status: 200"))
	}
	for i, want := range []string{"1 GET /huge at h 200 ", "3 GET /huge at h 200 ", "5 - - at - 200 ", "7 GET - at - 200 ", "9 - - at - 200 ", "11 GET /new at - 200 "} {
		if !strings.HasPrefix(p.rows[i], "client "+want) {
			t.Errorf("%s, not %s", p.rows[i], want)
		}
	}
	p.counts(Counts{Oversize: 2, Unknown: 2})
}

// Long values: what is cut is marked, what is not whole is not known.
func TestTextIsBounded(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, true, get("/"+strings.Repeat("p", 20000))...))
	p.out(p.cl.headers(3, true, ":method: "+strings.Repeat("M", 33), ":path: /", ":authority: "+strings.Repeat("h", 1025)))
	p.out(p.cl.headers(5, true, get("")...))
	p.out(p.cl.headers(7, true, ":method: GET", ":path: /x", "host: from.http1"))
	p.out(p.cl.headers(9, true, grpcCall("/a.B/C")...))
	for id := uint32(1); id <= 7; id += 2 {
		p.in(p.sv.headers(id, true, ":status: 200"))
	}
	p.in(p.sv.headers(9, true, append(grpcHead, "grpc-status: 2", "!grpc-message: "+strings.Repeat("m", maxMessage+1))...))
	for i, want := range []string{"1 GET /ppppppppp…16384 at h cut 200 ", "3 - / at - 200 ", "5 GET - at h 200 ", "7 GET /x at from.http1 200 ", `9 POST /a.B/C at h 200 grpc 2 "" `} {
		if !strings.HasPrefix(p.rows[i], "client "+want) {
			t.Errorf("%s, not %s", p.rows[i], want)
		}
	}
	n := 0
	p.to.GaveUp = func(*Exchange) { n++ }
	for id := uint32(11); id <= 111; id += 2 {
		p.out(p.cl.headers(id, true, get("/"+strings.Repeat("p", 20000))...))
	}
	if n != 51-16 || p.c.text > maxText+maxTarget+100 { // 16 fit
		t.Error(n, "given up with", p.c.text, "bytes")
	}
}

// The limit on tables is what SETTINGS of the other side allow.
func TestSettingsLimitTables(t *testing.T) {
	p := newTape(t)
	p.out(preface + settings(1, 65536, 3, 100))
	p.in(settings(1, 0, 4, 100, 1, 8192))
	if got := [2]uint32{p.c.flows[Sent].table.limit, p.c.flows[Received].table.limit}; got != [2]uint32{8192, 65536} {
		t.Error(got)
	}
	p.in(settings(1, 1<<31)) // beyond our own
	if p.c.flows[Sent].table.limit != maxTable {
		t.Error(p.c.flows[Sent].table.limit)
	}
	p = begun(t)
	p.miss(Received, "lost") // with SETTINGS, perhaps
	p.walk(Received, 0, ping)
	if p.c.flows[Sent].table.limit != maxTable || p.c.flows[Received].table.limit > defaultTable {
		t.Error("a gap does not allow for SETTINGS")
	}
}

// A connection that has ended holds no memory, one without streams little.
func TestIdleConnectionsAreSmall(t *testing.T) {
	p := begun(t)
	for i := range uint32(1000) {
		p.out(p.cl.headers(2*i+1, true, get("/a")...))
	}
	for i := range uint32(1000) {
		p.in(p.sv.headers(2*i+1, true, ":status: 200"))
	}
	if cap(p.c.list) > maxIdle || p.c.text != 0 || p.c.waits != 0 || p.c.orphans != 0 {
		t.Errorf("%d, %d, %d, %d", cap(p.c.list), p.c.text, p.c.waits, p.c.orphans)
	}
	p.close(Closed)
	if p.c.flows[0].table.ring != nil || p.c.list != nil {
		t.Error("memory is held")
	}
	p.out("later")
}
