package http2

import (
	"encoding/hex"
	"testing"
)

const (
	traceLine = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	traceIDs  = "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7"
)

// traced is a tape that writes down the traces alone.
func traced(p *tape) *tape {
	p.to.Exchange = func(x *Exchange) {
		text := "none"
		if x.Trace.ID != [16]byte{} {
			text = hex.EncodeToString(x.Trace.ID[:]) + " " + hex.EncodeToString(x.Trace.Parent[:])
		}
		p.rows = append(p.rows, text)
	}
	return p
}

func TestTraceparentOfAStream(t *testing.T) {
	p := traced(begun(t))
	ask := func(id uint32, more ...string) {
		p.out(p.cl.headers(id, true, get("/a", more...)...))
		p.in(p.sv.headers(id, true, ":status: 200"))
	}
	ask(1, traceLine)
	ask(3, traceLine) // by the table
	ask(5)
	ask(7, traceLine[:len(traceLine)-1])
	ask(9, traceLine, traceLine) // nobody knows which counts
	ask(11, "x-"+traceLine)
	ask(13, traceLine)
	p.want(traceIDs, traceIDs, "none", "none", "none", "none", traceIDs)
	p.counts(Counts{})
}

// That of the request counts: an answer and trailers have none.
func TestTraceparentElsewhereIsNone(t *testing.T) {
	p := traced(begun(t))
	p.out(p.cl.headers(1, false, post("/a")...), p.cl.headers(1, true, traceLine))
	p.in(p.sv.headers(1, true, ":status: 200", traceLine))
	p.want("none")
}

// The name and the value of a field that was put into the table before the connection was
// seen are not known.
func TestTraceparentOfATableThatWasNotSeen(t *testing.T) {
	p := traced(newTape(t))
	p.c.Reset(true)
	p.miss(Sent, preface+settings()+p.cl.headers(1, true, get("/a", traceLine)...))
	p.miss(Received, settings()+p.sv.headers(1, true, ":status: 200"))
	p.out(settings(), p.cl.headers(3, true, get("/a", traceLine)...))
	p.in(settings(), p.sv.headers(3, true, ":status: 200"))
	p.want("none")
}
