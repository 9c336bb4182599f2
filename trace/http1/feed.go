package http1

import (
	"bytes"
	"math"
)

// Feed takes the next segment. Those of one direction come in order of Offset;
// a response may come before its request if their times say otherwise. Before
// the connection is closed the number of all bytes should be told, if only by
// segments of Size 0: a request whose response could lie in untold bytes is
// lost.
func (c *Conn) Feed(s *Segment, to *Sink) {
	if c.opaque {
		return
	}
	c.admit(s, to)
	c.replay(to)
}

// admit takes a segment, or keeps it if it has to wait behind others.
func (c *Conn) admit(s *Segment, to *Sink) {
	if len(c.held) > 0 && c.held[0].Dir == s.Dir {
		c.hold(*s, s.Data, s.Tail, to)
		return
	}
	c.take(s, to)
}

// take moves a segment through its stream.
func (c *Conn) take(s *Segment, to *Sink) {
	st, other := &c.dirs[s.Dir&1], &c.dirs[s.Dir&1^1]
	if len(c.held) > 0 && c.held[0].Dir != s.Dir && (st.state == atHead || st.state == lost) {
		c.flush(s.Time, to) // what came before this request is not its answer, but that of what has come of it
	}
	if other.state == lost && other != c.answering() && s.Size > 0 && s.Last >= other.begun.start {
		c.abandon(other, to) // what seemed to begin there did not
	}

	told := s.Offset == st.next
	c.turned = other.moved > st.moved && other.moved <= s.Time || st.next == 0 && other.next == 0
	c.turn = told && c.turned
	c.untold = s.Offset > st.next
	if c.early != 0 && s.Size > 0 && st == c.answering() {
		if told && s.Time >= c.early {
			c.runsAhead(to)
		}
		c.early = 0
	}
	switch {
	case s.Offset > st.next:
		c.skip(st, s.Offset-st.next, nil, false, to)
	case !told && s.Size > 0:
		c.abandon(st, to)
		c.misplace(st, to)
		st.next = s.Offset
	}
	if s.Size == 0 || c.opaque {
		return
	}

	data, tail := s.Data, s.Tail
	if uint64(len(data)) > s.Size {
		data = data[:s.Size]
	}
	rest := s.Size - uint64(len(data))
	if uint64(len(tail)) > rest {
		tail = tail[uint64(len(tail))-rest:]
	}
	gap := rest - uint64(len(tail))

	if data = data[c.run(st, s, data, !s.Rest, rest > 0, to):]; len(data) == 0 {
		c.skip(st, gap, s, len(tail) > 0, to)
		data = tail[c.run(st, s, tail, false, false, to):]
		tail = nil
	}
	left := s.Offset + s.Size - st.next
	if left < s.Size {
		st.moved = max(st.moved, s.Last)
	}
	if left > 0 && !c.opaque {
		// What has to wait for its request waits with all that follows it.
		held := *s
		held.Offset, held.Size, held.Rest = st.next, left, s.Rest || left < s.Size
		c.hold(held, data, tail, to)
		return
	}
	if c.answered && st == c.answering() && st.state == lost && len(st.buf) == 0 && c.over(st, s) {
		c.conclude(to)
	}
}

// over reports whether the response under way, whose end cannot be read, is as
// good as surely over behind a segment.
func (c *Conn) over(st *flow, s *Segment) bool {
	if st.msg.bytes >= c.likely {
		return true
	}
	tail := s.Tail
	if uint64(len(s.Data)) >= s.Size {
		tail = s.Data[:s.Size]
	}
	return c.coded && (bytes.HasSuffix(tail, []byte("\r\n0\r\n\r\n")) ||
		!c.cutHead && s.Size == 5 && string(tail) == "0\r\n\r\n")
}

// skip moves n bytes that were not captured, of segment s or untold.
func (c *Conn) skip(st *flow, n uint64, s *Segment, more bool, to *Sink) {
	if n == 0 || c.opaque {
		return
	}
	c.cut(st, to)
	if c.opaque {
		return
	}
	st.next += n
	moved := st.pass(n)
	n -= moved
	st.msg.bytes += moved
	if moved > 0 {
		st.inner = s == nil || s.Time != s.Last && (more || n > 0)
		if s != nil {
			st.msg.last = s.Last
		}
		if st.state == over {
			c.end(st, to)
		}
	}
	if n > 0 {
		if st.state != lost {
			c.misplace(st, to)
		}
		c.stray(st, n, s, to)
	}
}

// hold copies a segment to take it later.
func (c *Conn) hold(s Segment, data, tail []byte, to *Sink) {
	s.Data, s.Tail = data, tail
	n := len(data) + len(tail)
	if len(c.held) > 0 && c.held[0].Dir != s.Dir { // responses both ways: one was none
		c.flush(math.MaxInt64, to)
	}
	if len(c.held) >= maxHeld || c.heldData+n > maxHeldData {
		c.flush(math.MaxInt64, to)
		c.force(&s, to)
		return
	}
	kept := append(append(to.get(), data...), tail...)
	s.Data, s.Tail = kept[:len(data)], kept[len(data):]
	c.held = append(c.held, s)
	c.heldData += n
}

// replay takes held segments as soon as there is a request for them.
func (c *Conn) replay(to *Sink) {
	for len(c.held) > 0 && !c.opaque && c.waiting() > 0 {
		held := c.held
		c.held, c.heldData = c.again[:0], 0
		for i := range held {
			if !c.opaque {
				c.admit(&held[i], to)
			}
			c.forget(&held[i], to)
		}
		c.again = held[:0]
	}
}

// flush takes held segments from before a time without their request.
func (c *Conn) flush(before int64, to *Sink) {
	for len(c.held) > 0 && c.held[0].Time < before {
		s := c.held[0]
		c.heldData -= len(s.Data) + len(s.Tail)
		c.held = c.held[:copy(c.held, c.held[1:])]
		if !c.opaque {
			c.force(&s, to)
		}
		c.forget(&s, to)
	}
}

func (c *Conn) force(s *Segment, to *Sink) {
	c.forced = true
	c.take(s, to)
	c.forced = false
}

// forget gives back the copy that hold has made.
func (c *Conn) forget(s *Segment, to *Sink) {
	to.put(s.Data)
	*s = Segment{}
}

// Settle ends what only waits for a sign that may be long in coming, if its
// last byte moved before a time: a response whose end cannot be read is
// reported as it is, marked as inexact.
func (c *Conn) Settle(before int64, to *Sink) {
	if n := len(c.held); n > 0 && c.held[n-1].Last < before {
		c.flush(math.MaxInt64, to)
	}
	if c.answered && !c.opaque {
		st := c.answering()
		if st.state == lost && len(st.buf) == 0 && st.msg.last < before {
			c.conclude(to)
		}
	}
}

// Close ends the connection: a body that lasts until then is whole, and what
// has no answer or half of one is reported with the reason. Where the number of
// bytes is known that moved each way, feed segments of Size 0 with that Offset
// first: they keep a request from being reported as unanswered whose answer
// moved unseen. The Conn is opaque afterwards and holds no memory.
func (c *Conn) Close(now int64, why Ending, to *Sink) {
	if why == Complete {
		why = Closed
	}
	c.flush(math.MaxInt64, to)
	if st := c.answering(); st != nil && !c.opaque {
		if len(st.buf) > 0 {
			var h head
			if as, in := c.expect(st, st.buf); st.state == lost || h.parseCut(st.buf, as, in) && h.status >= 200 {
				c.cut(st, to)
			}
		}
	}
	if st := c.answering(); st != nil && !c.opaque { // still
		if c.answered {
			ending := why
			if why == Closed && (st.state == untilClose || st.state == lost && !c.cutHead) {
				ending = Complete
			}
			if st.state == lost {
				st.msg.inexact |= InexactResponse
			}
			if st.inner {
				st.msg.inexact |= InexactTime
			}
			c.finish(ending, to)
		}
	}
	for i := range c.dirs { // what came of a head that never ended
		if st := &c.dirs[i]; !c.opaque && st.asks {
			c.adopt(c.opposite(st), now, false, to)
		}
	}
	for c.first < len(c.queue) && !c.opaque {
		c.tell(to.Exchange, c.front(), why, now, to)
		c.pop(to)
	}
	for i := range c.dirs {
		c.dirs[i].drop(to)
	}
	c.queue, c.held, c.again, c.heldData = nil, nil, nil, 0
	c.opaque = true
}
