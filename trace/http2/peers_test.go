package http2

import (
	"fmt"
	"strings"
	"testing"
)

// literal is a field by a name of the static table, as peers write it: kind 0x40 is
// inserted, 0 is not indexed, 0x10 is never.
func literal(kind byte, index byte, value string) string {
	most := byte(0x0f)
	if kind == 0x40 {
		most = 0x3f
	}
	head := string([]byte{kind | index})
	if index >= most {
		head = string([]byte{kind | most, index - most})
	}
	return head + string([]byte{byte(len(value))}) + value
}

// What is known of a connection that is older than tracing depends on what peers insert,
// and refer to (H2.md 15).
func TestPeersAfterALateStart(t *testing.T) {
	whole := func(n int) string { return rowf("GET /p%d at h 200", n) }
	for name, peer := range map[string]struct {
		ask, answer func(n int) string // header blocks, of the 1st, 2nd … exchange
		want        func(n int) string // of those that are seen
	}{
		// nginx and haproxy insert, and never refer to that.
		"nginx in front of nginx": {
			func(n int) string {
				return "\x82\x86" + literal(0x40, 4, fmt.Sprint("/p", n)) + literal(0x40, 1, "h")
			},
			func(n int) string {
				return literal(0x40, 8, "200") + literal(0x40, 54, "nginx/1.22.1") + literal(0x40, 31, "text/html")
			},
			whole,
		},
		// nghttp2 (curl, h2load, Node, grpc-js): paths are sent anew, the authority is an
		// index from the second request on.
		"curl": {
			func(n int) string {
				path := literal(0, 4, fmt.Sprint("/p", n))
				if n == 0 {
					return "\x82\x86" + literal(0x40, 1, "h") + path
				}
				return "\x82\x86" + "\xbe" + path
			},
			func(n int) string { return "\x88" },
			func(n int) string { return rowf("GET /p%d at - 200", n) },
		},
		// Java 17: a table of size 0, which it says in its first block.
		"Java": {
			func(n int) string {
				update := ""
				if n == 0 {
					update = "\x20"
				}
				return update + "\x82\x86" + literal(0, 1, "h") + literal(0x10, 4, fmt.Sprint("/p", n))
			},
			func(n int) string { return literal(0, 8, "200") },
			whole,
		},
		// Go's net/http: all is an index from the second request on.
		"Go": {
			func(n int) string {
				if n == 0 {
					return "\x3f\xe1\x1f" + "\x82\x86" + literal(0x40, 1, "h") + literal(0x40, 4, "/p")
				}
				return "\x82\x86\xbf\xbe"
			},
			func(n int) string {
				if n < 2 { // x/net's server: a size update in its first two blocks
					return "\x3f\xe1\x1f\x88"
				}
				return "\x88"
			},
			func(int) string { return "GET - at - 200" },
		},
	} {
		for from := range 4 {
			p := newTape(t)
			p.out(preface + settings())
			p.in(settings())
			if from > 0 {
				p.c.Reset(true)
				p.off = [2]uint64{}
			}
			var want []string
			for n := range 8 {
				id := uint32(2*n + 1)
				ask, answer := rawHeaders(id, true, peer.ask(n)), rawHeaders(id, true, peer.answer(n))
				if n < from { // before tracing began
					continue
				}
				p.walk(Sent, 0, ask)
				p.walk(Received, 0, answer)
				w := peer.want(n)
				if from == 0 {
					w = whole(n)
					if name == "Go" {
						w = "GET /p at h 200"
					}
				}
				want = append(want, rowf("client %d %s", id, w))
			}
			for i, w := range want {
				if i >= len(p.rows) || !strings.HasPrefix(p.rows[i], w+" ") {
					t.Errorf("%s from exchange %d on: %q, want %q", name, from+1, p.rows, want)
					break
				}
			}
			if len(p.rows) != len(want) {
				t.Errorf("%s from exchange %d on: %d rows", name, from+1, len(p.rows))
			}
		}
	}
}

// grpc-go inserts a deadline with each call, some 52 bytes: after about 80 calls the path
// has been pushed out of its table, and is sent anew.
func TestGRPCHealsByDeadlines(t *testing.T) {
	p := begun(t)
	call := func(n int) []string {
		return append(grpcCall("/a.B/C"), fmt.Sprintf("grpc-timeout: %du", 999000+n))
	}
	p.cl.block(call(0)...)
	p.c.Reset(true)
	p.off = [2]uint64{}
	unknown := 0
	for n := range 400 {
		id := uint32(2*n + 3)
		p.walk(Sent, 0, p.cl.headers(id, true, call(n+1)...))
		p.walk(Received, 0, p.sv.headers(id, true, append(grpcHead, "grpc-status: 0")...))
		if len(p.rows) != n+1 {
			t.Fatalf("call %d is not told", n)
		}
		switch row := p.rows[n]; {
		case strings.HasPrefix(row, rowf(`client %d POST - at `, id)) && unknown == n:
			unknown++
		case !strings.HasPrefix(row, rowf(`client %d POST /a.B/C at h 200 grpc 0`, id)) && n > unknown+5:
			t.Fatalf("call %d: %s", n, row)
		}
	}
	if unknown < 60 || unknown > 90 {
		t.Errorf("the path was known after %d calls", unknown)
	}
}

// One decoder for several connections, or for both directions, gives wrong fields
// (obi#1817, deepflow#4875, qtap#253). Here two connections have the same indexes.
func TestTablesAreNotShared(t *testing.T) {
	a, b := begun(t), begun(t)
	b.to.Exchange = a.to.Exchange
	for n := range 3 {
		id := uint32(2*n + 1)
		for i, p := range []*tape{a, b} {
			p.now = a.now
			path := rowf("/conn%d", i)
			seg := func(dir Direction, data string) {
				p.now++
				s := Segment{Dir: dir, Offset: p.off[dir], Size: uint64(len(data)), Data: []byte(data), Time: p.now, Last: p.now}
				p.off[dir] += s.Size
				p.c.Feed(&s, &a.to)
			}
			seg(Sent, p.cl.headers(id, true, get(path, "x: "+path)...))
			seg(Received, p.sv.headers(id, true, rowf(":status: %d", 201+i), "x: "+path))
		}
	}
	for n := range 3 {
		for i := range 2 {
			if want := rowf("client %d GET /conn%d at h %d ", 2*n+1, i, 201+i); !strings.HasPrefix(a.rows[2*n+i], want) {
				t.Errorf("%s, not %s", a.rows[2*n+i], want)
			}
		}
	}
}

// One call may hold hundreds of frames (beyla#695, DataDog#20493): all are read, each
// stream for itself (obi#3291).
func TestManyFramesInACall(t *testing.T) {
	p := begun(t)
	const n = 512
	var asks, answers []string
	for i := range uint32(n) {
		asks = append(asks, p.cl.headers(2*i+1, false, post(rowf("/%d", i))...), ping, data(2*i+1, true, 3))
	}
	for i := range uint32(n) {
		answers = append(answers, window, p.sv.headers(2*i+1, false, rowf(":status: %d", 200+i)), data(2*i+1, true, 1))
	}
	p.out(asks...)
	p.in(answers...)
	if len(p.rows) != n {
		t.Fatal(len(p.rows))
	}
	for i, row := range p.rows {
		if want := rowf("client %d POST /%d at h %d ", 2*i+1, i, 200+i); !strings.HasPrefix(row, want) {
			t.Errorf("%s, not %s", row, want)
		}
	}
	p.counts(Counts{})
}

// What lies behind the length of a segment is not a part of it (beyla#930).
func TestStaleBytesAreNotRead(t *testing.T) {
	p := begun(t)
	h := p.cl.headers(1, true, get("/a")...)
	s := Segment{Dir: Sent, Offset: p.off[Sent], Size: uint64(len(h)), Data: []byte(h + rawHeaders(3, true, "\x82\x86\x84")), Time: 3, Last: 3}
	p.c.Feed(&s, &p.to)
	p.now = 3
	p.in(p.sv.headers(1, true, ":status: 200"))
	p.close(Closed)
	p.want("client 1 GET /a at h 200 18@3-3 10@4-4")
}
