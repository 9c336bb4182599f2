package http1

import (
	"bytes"

	"tracer/trace/message"
)

// A Conn follows one connection. The zero value is a connection that is seen
// from its first byte; Reset prepares any other. It is not safe for concurrent
// use and always takes the same Sink.
//
// The place in a stream is lost where a head is not where it should be, or
// where bytes moved unseen whose number the framing does not know. It is found
// again at a turn only: see Conn.turn.
type Conn struct {
	pairing

	kind   Kind
	proven bool // an answer, or the first byte of all, showed which way requests go
	joined bool // the connection is older than what was seen of it
	opaque bool // nothing more is to be read

	// The segment under way comes right behind what was told in its direction,
	// and what moved last went the other way, or nothing moved before. A
	// client that waits for answers begins a request there and nowhere else.
	turn bool
	// The same, but it may come behind bytes that were not told.
	turned bool
	untold bool // it comes behind bytes that were not told

	held, again []Segment // copies of responses that came before their request
	heldData    int
	forced      bool // responses are not held any more

	upgrade *message.Upgrade // to HTTP/2
}

// Reset makes c ready for another connection, joined if bytes moved on it
// before it was seen.
func (c *Conn) Reset(joined bool) {
	queue, held, again := c.queue, c.held, c.again
	if cap(queue) > maxIdleQueue {
		queue = nil
	}
	clear(queue[:cap(queue)])
	clear(held[:cap(held)])
	clear(again[:cap(again)])
	*c = Conn{joined: joined}
	c.queue, c.held, c.again = queue[:0], held[:0], again[:0]
	if joined {
		c.dirs[Sent].state, c.dirs[Received].state = lost, lost
		c.dirs[Sent].begin, c.dirs[Received].begin = true, true
	}
}

// Kind returns what the connection speaks, as far as it is known.
func (c *Conn) Kind() Kind { return c.kind }

// Opaque reports that no exchange will be found any more: the connection
// speaks something else, from the start, since an upgrade (101) or inside a
// tunnel (CONNECT), or it was closed.
func (c *Conn) Opaque() bool { return c.opaque }

// Upgraded returns the request whose answer comes in HTTP/2, once the server has said
// so (RFC 7540, 3.2); else nil. It is not reported here, and the Conn is opaque.
func (c *Conn) Upgraded() *message.Upgrade { return c.upgrade }

// handOver takes the request in front away, as its answer comes in HTTP/2 behind a head.
func (c *Conn) handOver(m progress, to *Sink) {
	u := &message.Upgrade{}
	c.tell(func(x *Exchange) {
		u.Request = *x
		u.Request.Method, u.Request.Target, u.Request.Host = bytes.Clone(x.Method), bytes.Clone(x.Target), bytes.Clone(x.Host)
	}, c.front(), Complete, 0, to)
	u.Request.ResponseBytes = 0
	u.Next[c.requests] = u.Request.RequestOffset + u.Request.RequestBytes
	u.Next[c.requests^1] = m.offset + m.bytes
	c.pop(to)
	c.lose(to)
	c.upgrade, c.opaque = u, true
}

// misplace is called where the place in a stream is lost.
func (c *Conn) misplace(st *flow, to *Sink) {
	to.Resyncs++
	c.strayed = true
	st.state = lost
	if st == c.answering() {
		c.lose(to)
	}
	other := c.opposite(st)
	other.begun.late = true
	if c.known && !c.proven { // what was taken for a request may have been none
		c.lose(to)
		c.known = false
		other.drop(to)
		other.state = lost
	}
}

// runsAhead takes note that the client does not wait for answers. If the place was lost
// before, and found where such a client would have waited, it may have been a wrong one.
func (c *Conn) runsAhead(to *Sink) {
	if !c.ahead && c.strayed {
		c.lose(to)
		c.answering().state = lost
	}
	c.ahead = true
}

// stray moves bytes of a stream whose place is lost, of segment s or untold.
func (c *Conn) stray(st *flow, n uint64, s *Segment, to *Sink) {
	st.msg.bytes += n
	if s != nil {
		st.msg.last = max(st.msg.last, s.Last)
	}
	c.opposite(st).begun.late = true
	if st == c.answering() && c.due && (s == nil || s.Last >= c.dueFrom) {
		c.misplace(st, to) // the answer began, and could not be read
	}
}

// abandon takes what was kept of a head for something else.
func (c *Conn) abandon(st *flow, to *Sink) {
	n := uint64(len(st.buf))
	if n == 0 {
		return
	}
	st.drop(to)
	if st.state == atHead {
		c.misplace(st, to)
	}
	c.stray(st, n, &Segment{Time: st.begun.start, Last: st.begun.last}, to)
}

// end is called where a message is over.
func (c *Conn) end(st *flow, to *Sink) {
	st.state = atHead
	if st.inner {
		st.msg.inexact |= InexactTime
	}
	switch {
	case st == c.answering():
		c.finish(Complete, to)
	case c.open:
		c.endRequest(0)
	}
}
