package http1

import "math"

// Busy reports whether a request is under way, waits for its answer or for the end of
// it, or an answer for its request.
func (c *Conn) Busy() bool {
	return c.first < len(c.queue) || len(c.held) > 0 || c.dirs[Sent].asks || c.dirs[Received].asks
}

// Waiting returns how many requests have no answer under way.
func (c *Conn) Waiting() int { return c.waiting() }

// Holds reports whether an answer waits for its request to be told.
func (c *Conn) Holds() bool { return len(c.held) > 0 }

// Body returns up to which offset a direction is in the middle of a body or a
// chunk, so that its bytes need not be captured; 0 if it is not. Blind says
// that the body may be over before, which only its last bytes would tell.
func (c *Conn) Body(dir Direction) (until uint64, blind bool) {
	st := &c.dirs[dir&1]
	switch {
	case c.opaque:
	case st.state == inBody || st.state == inChunk:
		if st.left > math.MaxUint64-st.next {
			return math.MaxUint64, false
		}
		return st.next + st.left, false
	case st.state == untilClose:
		return math.MaxUint64, false
	case st.state == lost && st == c.answering() && c.answered && c.coded:
		return math.MaxUint64, true
	}
	return 0, false
}

// Oldest returns when the oldest request began that no answer has begun to
// come for, or none that is HTTP, and that Stuck has not reported yet.
func (c *Conn) Oldest() (start int64, ok bool) {
	if c.odd && !c.front().stuck {
		return c.front().start, true
	}
	for i := c.unanswered(); i < len(c.queue); i++ {
		if r := &c.queue[i]; !r.stuck {
			return r.start, true
		}
	}
	for i := range c.dirs {
		if st := &c.dirs[i]; st.asks && !st.stuck {
			return st.begun.start, true
		}
	}
	return 0, false
}

// Stuck reports to Sink.Stuck, once each, the requests that began at or before
// a time and that no answer has begun to come for, also such whose head is not over.
// Their exchanges are reported as ever when they are over. One with an answer that is
// not HTTP is then over, as nothing tells where that ends.
func (c *Conn) Stuck(before int64, to *Sink) {
	if c.odd && !c.front().stuck && c.front().start <= before {
		if c.front().stuck = true; len(c.answering().buf) == 0 {
			c.conclude(to)
		}
	}
	for i := c.unanswered(); i < len(c.queue) && c.queue[i].start <= before; i++ {
		if r := &c.queue[i]; !r.stuck {
			r.stuck = true
			c.tell(to.Stuck, r, Complete, 0, to)
		}
	}
	for i := range c.dirs {
		if st := &c.dirs[i]; st.asks && !st.stuck && st.begun.start <= before {
			c.tellOpen(st, to)
		}
	}
}

// tellOpen reports a request whose head is not over as stuck.
func (c *Conn) tellOpen(st *flow, to *Sink) {
	st.stuck = true
	var h head
	if n, ok := h.parseOpen(st.buf); ok && to.Stuck != nil {
		st.begun.bytes = uint64(n)
		x := c.began(c.direction(st), &h, st.begun, to)
		x.Incomplete = h.incomplete
		if !c.missing {
			x.Position = c.nth + 1
		}
		to.Stuck(x)
	}
}
