package http1

import (
	"slices"
	"testing"
)

// A request's position counts all requests before it, and is not told where some may
// have been missed.
func TestPositionCountsRequests(t *testing.T) {
	const (
		get  = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
		post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
		ok   = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	)
	type step struct {
		dir    Direction
		data   string
		unseen uint64 // bytes that move before it, which nobody saw
	}
	for _, c := range []struct {
		name   string
		joined bool
		steps  []step
		want   []uint64
	}{
		{"one after the other", false, []step{{Sent, get, 0}, {Received, ok, 0}, {Sent, post, 0}, {Received, ok, 0}}, []uint64{1, 2}},
		{"in one go", false, []step{{Sent, get + post + get, 0}, {Received, ok + ok + ok, 0}}, []uint64{1, 2, 3}},
		{"the beginning was not seen", true, []step{{Sent, get, 0}, {Received, ok, 0}}, []uint64{0}},
		{
			"bytes in between were not seen", false,
			[]step{{Sent, get, 0}, {Received, ok, 0}, {Sent, get, 70}, {Received, ok, 30}, {Sent, get, 0}, {Received, ok, 0}},
			[]uint64{1, 0}, // and one that is not told
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uint64
			to := &Sink{Exchange: func(x *Exchange) { got = append(got, x.Position) }}
			var conn Conn
			conn.Reset(c.joined)
			var next [2]uint64
			for i, s := range c.steps {
				next[s.dir] += s.unseen
				conn.Feed(&Segment{Dir: s.dir, Offset: next[s.dir], Size: uint64(len(s.data)), Data: []byte(s.data), Time: int64(i + 1), Last: int64(i + 1)}, to)
				next[s.dir] += uint64(len(s.data))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("positions %d, want %d", got, c.want)
			}
		})
	}
}
