package http1

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/message"
)

const (
	askH2C = "GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
	sayH2C = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
)

// RFC 7540, 3.2: the answer comes in HTTP/2, behind the 101 and perhaps in the same call.
func TestUpgradeToHTTP2(t *testing.T) {
	for name, behind := range map[string]string{"alone": "", "with SETTINGS": "\x00\x00\x00\x04\x00\x00\x00\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			p := newTape(false)
			steps := []step{out(get), in(ok + "ok"), out(askH2C[:20]), out(askH2C[20:])}
			p.play(steps...)
			if p.c.Upgraded() != nil {
				t.Error("the server has not said so")
			}
			p = newTape(false)
			p.play(append(steps, in(sayH2C+behind))...)
			first := len(p.rows)
			want := &message.Upgrade{
				Request: Exchange{
					Role: Client, Method: []byte("GET"), Target: []byte("/up"), Host: []byte("h"), Minor: 1,
					RequestStart: 3, RequestEnd: 4, Position: 2, RequestOffset: uint64(len(get)), RequestBytes: uint64(len(askH2C)),
				},
				Next: [2]uint64{Sent: uint64(len(get) + len(askH2C)), Received: uint64(len(ok) + 2 + len(sayH2C))},
			}
			if diff := cmp.Diff(want, p.c.Upgraded()); diff != "" {
				t.Error(diff)
			}
			p.play(end(Closed))
			if !p.c.Opaque() || len(p.rows) != first || p.to.Counts != (Counts{}) {
				t.Errorf("opaque %v, %q, %+v", p.c.Opaque(), p.rows, p.to.Counts)
			}
		})
	}
}

// What is no such upgrade is an exchange of HTTP/1.
func TestNoUpgradeToHTTP2(t *testing.T) {
	for name, test := range map[string]struct{ ask, answer string }{
		"the server ignores it":      {askH2C, "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"},
		"a websocket":                {"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"},
		"the server chose another":   {"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: h2c, websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"},
		"the client had not offered": {get, sayH2C},
	} {
		p := newTape(false)
		p.play(out(test.ask), in(test.answer), end(Closed))
		if p.c.Upgraded() != nil || len(p.rows) != 1 {
			t.Errorf("%s: %+v, %q", name, p.c.Upgraded(), p.rows)
		}
	}
}
