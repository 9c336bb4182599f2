package http1

import (
	"bytes"
	"math"
)

// run moves captured bytes, from a segment's start or not and with more of it
// to follow or not, and returns how many. Fewer than all means that a response
// has to wait for its request.
func (c *Conn) run(st *flow, s *Segment, b []byte, start, more bool, to *Sink) int {
	all := len(b)
	for len(b) > 0 && !c.opaque {
		if st.state == atHead || st.state == lost {
			n, ok := c.head(st, s, b, start, more, to)
			st.next += uint64(n)
			b, start = b[n:], false
			if !ok {
				break
			}
			continue
		}
		n, ok := st.read(b)
		st.next += uint64(n)
		b, start = b[n:], start && n == 0
		st.msg.bytes += uint64(n)
		st.msg.last = s.Last
		st.inner = s.Time != s.Last && (more || len(b) > 0)
		if !ok {
			c.misplace(st, to)
		} else if st.state == over {
			c.end(st, to)
		}
	}
	return all - len(b)
}

// head reads b, which begins or goes on with a head if anything does. It
// returns how much of b it took, and false if the rest has to wait.
func (c *Conn) head(st *flow, s *Segment, b []byte, start, more bool, to *Sink) (n int, ok bool) {
	had := len(st.buf)
	if had == 0 {
		if _, _, ok := c.seek(st, s, start); !ok {
			c.passOver(st, s, b, start, to)
			c.stray(st, uint64(len(b)), s, to)
			return len(b), true
		}
	}
	if !st.begin {
		if n, ok := c.preamble(st, s, b, to); ok {
			return n, true
		}
		had = len(st.buf)
	}
	if had == 0 {
		// RFC 9112, 2.2: empty lines before a request are ignored.
		for n < len(b) && (b[n] == '\r' || b[n] == '\n') {
			n++
		}
		if b = b[n:]; len(b) == 0 {
			return n, true
		}
		st.begun = progress{start: s.Time, offset: st.next + uint64(n), first: start, turn: start && c.turn, turned: start && c.turned}
		if s.Time != s.Last && !start {
			st.begun.inexact = InexactTime
		}
	}
	st.begun.last = s.Last
	limit := to.maxHead()
	src := b[:min(len(b), limit-had)]
	if had > 0 {
		st.buf = append(st.buf, src...)
		src = st.buf
	}

	as, in := c.expect(st, src)
	var h head
	size, v, cut := 0, partial, false
	switch {
	case as == shapeShort:
	case as == shapeTLS || as == shapeOther:
		v = wrong
	case had < minResponse,
		st.lined && blank(src, had),
		!st.lined && bytes.IndexByte(src[had:], '\n') >= 0:
		size, v = h.parse(src, as, in)
		st.lined = h.lined
	}
	if v == partial && len(src) == limit {
		size, v, cut = limit, wrong, true
		if h.parseCut(src, as, in) {
			v = whole
		}
	}
	if v == whole && st.glued(&h, as, in) {
		v = wrong
	}
	switch {
	case had == 0 && c.mustWait(st, src):
		return n, false
	case v == wrong && c.foreign(st, as, h.preface):
		st.drop(to)
		return n + len(b), true
	case v == wrong && !cut && c.strange(st, uint64(had+len(b)), to):
		return n + len(b), true
	case v == wrong:
		st.buf = st.buf[:had]
		c.abandon(st, to)
		if st.state == atHead {
			c.misplace(st, to)
		}
		c.stray(st, uint64(len(b)), s, to)
		return n + len(b), true
	case v == partial:
		if had == 0 {
			st.buf = append(to.get(), src...)
		}
		st.asks = as == shapeRequest && in == sure && (!h.bare || c.known)
		st.begun.split = st.begun.split || shapeOf(src) == shapeShort
		if st.asks && st.lined {
			c.kind = HTTP1
		}
		return n + len(b), true
	}
	st.begun.bytes = uint64(size)
	st.inner = s.Time != s.Last && (more || size-had < len(b))
	c.accept(st, as, &h, cut, to)
	return n + size - had, true
}

// preamble takes the head of the PROXY protocol, if b is or goes on with one: it may stand
// before the first request. False: it is none, and nothing was taken.
func (c *Conn) preamble(st *flow, s *Segment, b []byte, to *Sink) (n int, ok bool) {
	had := len(st.buf)
	if c.known || st.state != atHead {
		st.begin = true
		return 0, false
	}
	src := b
	if had > 0 {
		src = append(st.buf, b...)
		st.buf = src[:had]
	}
	size, v := preamble(src)
	switch v {
	case partial:
		if had == 0 {
			src = append(to.get(), src...)
			st.begun = progress{start: s.Time, last: s.Last, offset: st.next}
		}
		st.buf = src
		return len(b), true
	case wrong:
		st.begin = true
		if had > 0 && len(bytes.TrimLeft(st.buf, "\r\n")) == 0 {
			st.drop(to) // they were empty lines
		}
		return 0, false
	}
	st.begin = true
	st.drop(to)
	n = min(size-had, len(b))
	if left := size - had - n; left > 0 {
		st.state, st.left = inPreamble, uint64(left)
	}
	return n, true
}

// passOver counts a request that is not read, as it may be the rest of something else:
// it begins a call behind bytes that went the other way or were not told, and looks
// like one.
func (c *Conn) passOver(st *flow, s *Segment, b []byte, start bool, to *Sink) {
	if !start || !c.turned && !c.untold || c.kind > HTTP1 || c.known && st != c.asking() {
		return
	}
	var h head
	switch as := shapeOf(b); {
	case as == shapeRequest:
		if _, v := h.parse(b, as, doubtful); v != whole && !h.parseCut(b, as, doubtful) {
			return
		}
	case as != shapeShort || !c.known || !c.turned:
		return
	}
	to.Lost++
	c.giveUp(c.direction(st), &h, progress{start: s.Time, last: s.Last, offset: st.next, bytes: uint64(len(b))}, to)
}

// seek returns what a head that begins in a segment has to look like and how
// sure it is that one does, and false where none is to be looked for.
func (c *Conn) seek(st *flow, s *Segment, start bool) (as shape, in doubt, ok bool) {
	switch {
	case st.state == atHead && !c.known:
		return shapeShort, sure, true
	case st.state == atHead && st == c.asking():
		return shapeRequest, sure, true
	case st.state == atHead:
		return shapeResponse, sure, true
	case !start:
		return 0, sure, false
	case !c.known:
		return shapeRequest, blind, c.turn
	case st == c.asking():
		return shapeRequest, doubtful, c.turn && c.waiting() == 0 && !c.ahead
	}
	return shapeResponse, doubtful, c.odd || c.due && s.Time >= c.dueFrom
}

// expect returns what a head that begins with b must be, or else what it looks
// like, and how sure it is that one does.
func (c *Conn) expect(st *flow, b []byte) (as shape, in doubt) {
	as = shapeResponse
	if st == c.asking() {
		as = shapeRequest
	}
	switch {
	case st.state == atHead && !c.known:
		return shapeOf(b), sure
	case st.state == atHead:
		return as, sure
	case c.known && (c.proven || as == shapeRequest):
		return as, doubtful
	}
	// Requests may go either way.
	switch as = shapeOf(b); {
	case as == shapeRequest, as == shapeShort:
		return as, blind
	case as == shapeResponse && c.known:
		return as, doubtful
	}
	return shapeOther, blind
}

// mustWait reports whether a response, which begins with b, has to wait for its request,
// or for the rest of that: two threads on two processors may have their segments told in
// the wrong order.
func (c *Conn) mustWait(st *flow, b []byte) bool {
	if c.waiting() > 0 || st.state != atHead || c.forced || c.known && st != c.answering() {
		return false
	}
	if c.known || c.opposite(st).asks {
		return c.opposite(st).asks || answerShape(b) != shapeOther
	}
	return shapeOf(b) == shapeResponse
}

// strange takes n bytes that came where an answer should begin, and are none: the
// answer to the request that waits, if they can be that of no other.
func (c *Conn) strange(st *flow, n uint64, to *Sink) bool {
	m := st.begun
	if !m.first || st.state != atHead || !c.adopt(st, m.start, false, to) {
		return false
	}
	if st != c.answering() || !c.proven || c.answered || c.waiting() == 0 || !c.front().alone || c.front().start > m.start {
		return false
	}
	st.drop(to)
	m.bytes = c.interim + n
	st.msg, st.state, c.strayed = m, lost, true
	c.answered, c.odd, c.status, c.minor = true, true, 0, c.front().minor
	c.coded, c.cutHead, c.likely = false, false, math.MaxUint64
	c.lose(to) // what may be answered behind it cannot be told
	return true
}

// adopt is called with an answer of a time that comes where no request waits for one. If
// the head of a request has begun and is not over it is an answer to that, as far as that
// came (RFC 9112, 9.5). A line without a version is a request if this answers it. False:
// it is not known which way requests go.
func (c *Conn) adopt(answers *flow, now int64, answered bool, to *Sink) bool {
	st := c.opposite(answers)
	if c.waiting() > 0 || c.known && st != c.asking() || len(st.buf) == 0 || st.state != atHead || st.begun.start > now {
		return c.known
	}
	var h head
	n, ok := h.parseOpen(st.buf)
	if !ok || h.bare && !answered && !c.known {
		return c.known
	}
	rest := bytes.Clone(st.buf[n:])
	st.begun.bytes = uint64(n)
	last := st.begun.last
	c.accept(st, shapeRequest, &h, h.incomplete, to)
	if len(rest) > 0 {
		c.run(st, &Segment{Dir: c.direction(st), Time: last, Last: last}, rest, false, false, to)
	}
	return true
}

// foreign reports whether what came instead of a head shows that the connection
// does not speak HTTP/1.
func (c *Conn) foreign(st *flow, as shape, preface bool) bool {
	if c.kind != Unknown || !preface && (c.joined || st.state == lost) || c.opposite(st).asks {
		return false
	}
	switch {
	case preface:
		c.kind = HTTP2
	case as == shapeTLS:
		c.kind = TLS
	default:
		c.kind = Other
	}
	c.opaque = true
	return true
}

// glued reports a method that may be the end of something with a method behind it, as it
// came in parts and in doubt, and is none that is well known.
func (st *flow) glued(h *head, as shape, in doubt) bool {
	return in > sure && as == shapeRequest && st.begun.split && !common(h.method)
}

// cut reads what came of a head whose rest was not captured.
func (c *Conn) cut(st *flow, to *Sink) {
	if len(st.buf) == 0 {
		return
	}
	var h head
	if as, in := c.expect(st, st.buf); h.parseCut(st.buf, as, in) && !st.glued(&h, as, in) {
		st.begun.bytes = uint64(len(st.buf))
		c.accept(st, as, &h, true, to)
		return
	}
	c.abandon(st, to)
}

// accept takes a head. Its buffer may be reused afterwards.
func (c *Conn) accept(st *flow, as shape, h *head, cut bool, to *Sink) {
	c.kind = HTTP1
	m := st.begun
	if as == shapeRequest {
		c.nth++
		st.begin = true
		c.missing = c.missing || st.state != atHead || c.known && st != c.asking()
		if st != c.asking() {
			if c.known { // wrongly
				c.misplace(st, to)
			}
			c.known, c.proven = true, st.state == atHead
			c.requests = c.direction(st)
		}
		c.request(st, h, m, cut, to)
	} else {
		c.response(st, h, m, cut, to)
	}
	st.drop(to)
}

// request takes the head of a request.
func (c *Conn) request(st *flow, h *head, m progress, cut bool, to *Sink) {
	if c.open { // and its end was not seen
		c.endRequest(InexactRequest)
	}
	responses := c.answering()
	if m.first && c.asked && (!m.turned || len(responses.buf) > 0 || c.answered && responses.state != lost) {
		c.early = m.start
	}
	if !m.first && c.waiting() > 0 { // in the call of the one before
		c.runsAhead(to)
	}
	c.asked = true
	if m.turn && !m.late && !c.ahead {
		c.settle(m.start, to)
	}
	st.msg = m
	switch {
	case responses.state == lost && !c.due:
		to.Lost++
		c.giveUp(c.requests, h, m, to)
	case c.full || len(c.queue)-c.first >= maxWaiting || c.text >= maxText:
		to.Overflow++
		c.full = true
		c.giveUp(c.requests, h, m, to)
	default:
		c.push(h, m, to)
	}
	c.expects = 0
	if h.expect {
		c.expects = m.bytes
	}
	if cut {
		st.state, c.strayed = lost, true
		return
	}
	if st.frame(h, false); st.state == lost {
		c.misplace(st, to)
	} else if st.state == over {
		c.end(st, to)
	}
}

// response takes the head of a response.
func (c *Conn) response(st *flow, h *head, m progress, cut bool, to *Sink) {
	c.due = false
	if c.odd { // what came before belongs to nobody
		c.answered, c.odd, c.interim = false, false, 0
	}
	c.adopt(st, m.start, true, to)
	switch {
	case c.waiting() == 0 || c.front().start > m.start:
		// Its request is not known. That could be a HEAD, and the response's
		// end depends on it.
		c.unmatched(h, m, to)
		c.misplace(st, to)
		return
	case h.status == 101 && c.front().h2c && (h.h2c || cut):
		c.handOver(m, to)
		return
	case h.status < 200 && h.status != 101:
		// RFC 9110, 15.2: interim, not the answer.
		c.interim += m.bytes
		if st.state = atHead; cut {
			c.misplace(st, to)
		}
		return
	}
	c.proven = true
	m.bytes += c.interim
	st.msg = m
	r := c.front()
	c.answered, c.status, c.minor = true, h.status, h.minor
	c.coded, c.cutHead, c.likely = h.chunked, cut, math.MaxUint64

	// RFC 9112, 6.3.
	bodiless := h.status == 204 || h.status == 304 || r.is("HEAD")
	switch {
	case h.status == 101 || h.status < 300 && r.is("CONNECT"):
		c.finish(Complete, to)
		c.lose(to)
		c.opaque = true
	case cut:
		switch {
		case bodiless:
			c.likely = m.bytes
		case h.length >= 0 && !h.coded && !h.conflict:
			c.likely = m.bytes + uint64(h.length)
		default:
			c.coded = h.chunked || !h.coded
		}
		c.lose(to)
		st.state, c.strayed = lost, true
	case bodiless:
		c.end(st, to)
	default:
		if st.frame(h, true); st.state == lost {
			c.misplace(st, to)
		} else if st.state == over {
			c.end(st, to)
		}
	}
}
