package http1

import "bytes"

// A Conn follows one connection. The zero value is a connection that is seen
// from its first byte; Reset prepares any other. It is not safe for concurrent
// use and always takes the same Sink.
//
// The place in a stream is lost where a head is not where it should be, or
// where bytes moved unseen whose number the framing does not know. It is found
// again at a turn only: see Conn.turn.
type Conn struct {
	dirs [2]flow
	pairing

	kind     Kind
	requests Direction // which way requests go
	known    bool      // requests is set
	proven   bool      // and an answer, or the first byte of all, showed it
	joined   bool      // the connection is older than what was seen of it
	opaque   bool      // nothing more is to be read

	// The segment under way comes right behind what was told in its direction,
	// and what moved last went the other way, or nothing moved before. A
	// client that waits for answers begins a request there and nowhere else.
	turn bool
	// The same, but it may come behind bytes that were not told.
	turned bool
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
	}
}

// Kind returns what the connection speaks, as far as it is known.
func (c *Conn) Kind() Kind { return c.kind }

// Opaque reports that no exchange will be found any more: the connection
// speaks something else, from the start, since an upgrade (101) or inside a
// tunnel (CONNECT), or it was closed.
func (c *Conn) Opaque() bool { return c.opaque }

// asking and answering return the streams of requests and responses, nil where
// it is not known which is which.
func (c *Conn) asking() *flow {
	if !c.known {
		return nil
	}
	return &c.dirs[c.requests]
}

func (c *Conn) answering() *flow {
	if !c.known {
		return nil
	}
	return &c.dirs[c.requests^1]
}

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
	if len(c.held) > 0 && c.held[0].Dir != s.Dir && len(st.buf) == 0 && (st.state == atHead || st.state == lost) {
		c.flush(s.Time, to) // what came before this request is not its answer
	}
	if other.state == lost && other != c.answering() && s.Size > 0 && s.Last >= other.begun.start {
		c.abandon(other, to) // what seemed to begin there did not
	}

	told := s.Offset == st.next
	c.turned = other.moved > st.moved && other.moved <= s.Time || st.next == 0 && other.next == 0
	c.turn = told && c.turned
	if c.early != 0 && s.Size > 0 && st == c.answering() {
		c.ahead = c.ahead || told && s.Time >= c.early
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

// misplace is called where the place in a stream is lost.
func (c *Conn) misplace(st *flow, to *Sink) {
	to.Resyncs++
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

// drop forgets a head that is not whole.
func (st *flow) drop(to *Sink) {
	to.put(st.buf)
	st.buf, st.lined = nil, false
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
	return shapeResponse, doubtful, c.due && s.Time >= c.dueFrom
}

// head reads b, which begins or goes on with a head if anything does. It
// returns how much of b it took, and false if the rest has to wait.
func (c *Conn) head(st *flow, s *Segment, b []byte, start, more bool, to *Sink) (n int, ok bool) {
	had := len(st.buf)
	if had == 0 {
		if _, _, ok := c.seek(st, s, start); !ok {
			c.stray(st, uint64(len(b)), s, to)
			return len(b), true
		}
		// RFC 9112, 2.2: empty lines before a request are ignored.
		for st.state == atHead && n < len(b) && (b[n] == '\r' || b[n] == '\n') {
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
	switch {
	case v == wrong && c.foreign(st, as, h.preface):
		st.drop(to)
		return n + len(b), true
	case v == wrong:
		st.buf = st.buf[:had]
		c.abandon(st, to)
		if st.state == atHead {
			c.misplace(st, to)
		}
		c.stray(st, uint64(len(b)), s, to)
		return n + len(b), true
	case had == 0 && as == shapeResponse && c.mustWait(st):
		return n, false
	case v == partial:
		if had == 0 {
			st.buf = append(to.get(), src...)
		}
		return n + len(b), true
	}
	st.begun.bytes = uint64(size)
	st.inner = s.Time != s.Last && (more || size-had < len(b))
	c.accept(st, as, &h, cut, to)
	return n + size - had, true
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

// cut reads what came of a head whose rest was not captured.
func (c *Conn) cut(st *flow, to *Sink) {
	if len(st.buf) == 0 {
		return
	}
	var h head
	if as, in := c.expect(st, st.buf); h.parseCut(st.buf, as, in) {
		st.begun.bytes = uint64(len(st.buf))
		c.accept(st, as, &h, true, to)
		return
	}
	c.abandon(st, to)
}

// foreign reports whether what came instead of a head shows that the connection
// does not speak HTTP/1.
func (c *Conn) foreign(st *flow, as shape, preface bool) bool {
	if c.kind != Unknown || !preface && (c.joined || st.state == lost) {
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

// accept takes a head. Its buffer may be reused afterwards.
func (c *Conn) accept(st *flow, as shape, h *head, cut bool, to *Sink) {
	c.kind = HTTP1
	m := st.begun
	if as == shapeRequest {
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

func (c *Conn) opposite(st *flow) *flow { return &c.dirs[c.direction(st)^1] }

func (c *Conn) direction(st *flow) Direction {
	if st == &c.dirs[Sent] {
		return Sent
	}
	return Received
}
