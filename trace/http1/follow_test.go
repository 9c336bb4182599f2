package http1

import (
	"math"
	"testing"
)

func TestBodySaysWhatNeedNotBeCaptured(t *testing.T) {
	const endless = math.MaxUint64
	tests := []struct {
		name  string
		steps []step
		dir   Direction
		until uint64
		blind bool
	}{
		{"nothing moved", nil, Sent, 0, false},
		{"within a head", []step{out(get[:20])}, Sent, 0, false},
		{"behind a request", []step{out(get)}, Sent, 0, false},
		{"the other direction", []step{out(get)}, Received, 0, false},
		{"within a body", []step{out(get), in(ok + "o")}, Received, 40, false},
		{"behind a body", []step{out(get), in(ok + "ok")}, Received, 0, false},
		{"within a body that was not captured", []step{out(get), in("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").cut(400)}, Received, 41 + 1000, false},
		{"within a request's body", []step{out("PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")}, Sent, 37 + 9, false},
		{"within a chunk", []step{out(get), in(ch + "\r\n\r\n10\r\nabc")}, Received, 51 + 16, false},
		{"between chunks", []step{out(get), in(ch + "\r\n\r\n1\r\na\r\n")}, Received, 0, false},
		{"in a chunk beyond all bounds", []step{out(get), in(ch + "\r\n\r\nffffffffffffffff\r\n")}, Received, endless, false},
		{"until the connection ends", []step{out(get), in("HTTP/1.1 200 OK\r\n\r\n")}, Received, endless, false},
		{"in chunks whose framing was lost", []step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000)}, Received, endless, true},
		{"behind them", []step{out(get), in(ch + "\r\n\r\n10\r\n").cut(5000), in("0\r\n\r\n")}, Received, 0, false},
		{"on a closed connection", []step{out(get), in(ok + "o"), end(Closed)}, Received, 0, false},
	}
	for _, test := range tests {
		p := newTape(false)
		p.play(test.steps...)
		if until, blind := p.c.Body(test.dir); until != test.until || blind != test.blind {
			t.Errorf("%s: until %d, blind %v; want %d, %v", test.name, until, blind, test.until, test.blind)
		}
	}
}

func TestWhoWaits(t *testing.T) {
	tests := []struct {
		name        string
		steps       []step
		waiting     int
		busy, holds bool
	}{
		{"nobody", nil, 0, false, false},
		{"a pipeline", []step{out(get + get2)}, 2, true, false},
		{"half an answer", []step{out(get), in(ok)}, 0, true, false},
		{"an answer", []step{out(get), in(ok + "ok")}, 0, false, false},
		{"an answer without request", []step{out(get), in(nf + nf)}, 0, true, true},
	}
	for _, test := range tests {
		p := newTape(false)
		p.play(test.steps...)
		if p.c.Waiting() != test.waiting || p.c.Busy() != test.busy || p.c.Holds() != test.holds {
			t.Errorf("%s: waiting %d, busy %v, holds %v", test.name, p.c.Waiting(), p.c.Busy(), p.c.Holds())
		}
	}
}
