package http1

import (
	"bytes"
)

// A Conn follows one connection. The zero value is a connection that is seen
// from its first byte; Reset prepares any other. It is not safe for concurrent
// use and always takes the same Sink.
type Conn struct {
	dirs [2]stream
	pairing

	kind     Kind
	requests Direction // which way requests go
	known    bool      // requests is set
	proven   bool      // and cannot be an error
	joined   bool      // the connection is older than what was seen of it
	opaque   bool      // nothing more is to be read
}

// A stream is where one direction of a connection stands.
type stream struct {
	next    uint64  // offset of the byte that comes next
	at      uint64  // the same while a segment is read
	left    uint64  // bytes left of the body or chunk; in a trailer bytes so far
	buf     []byte  // a head that is not whole yet
	msg     message // under way
	begun   message // the same for the head in buf
	until   int64   // a request that began before may have an answer that was not matched
	moved   int64   // when the last byte came
	strayed int64   // when the last byte came that lay between messages
	line    int     // length of the line under way in chunked framing
	state   state
	lined   bool // the first line in buf was read
	batch   bool // buf began at a segment's start
	coded   bool // what is under way is or may be in chunks
	early   bool // and its head may not be over
	inner   bool // the segment goes on where the message ends
	blind   bool // when lost: even what is under way is not known
	spare   bool // the body may not come at all
}

// A message is what is known of one while it moves.
type message struct {
	start, last int64
	offset      uint64 // of its first byte
	bytes       uint64
	inexact     Inexact
}

type state uint8

const (
	atHead     state = iota // where a head begins or goes on
	lost                    // where the next head is, is not known
	inBody                  // of known length
	untilClose              // in a body that the end of the connection ends
	inChunkSize
	inChunkExt // between size and line end
	inChunk
	inChunkEnd // at the line end behind a chunk
	inTrailer
)

// Reset makes c ready for another connection, joined if bytes moved on it
// before it was seen.
func (c *Conn) Reset(joined bool) {
	queue := c.queue[:0]
	if cap(queue) > maxIdleQueue {
		queue = nil
	}
	clear(queue[:cap(queue)])
	*c = Conn{joined: joined}
	c.queue = queue
	if joined {
		c.dirs[Sent] = stream{state: lost, blind: true}
		c.dirs[Received] = c.dirs[Sent]
	}
}

// Kind returns what the connection speaks, as far as it is known.
func (c *Conn) Kind() Kind { return c.kind }

// Opaque reports that no exchange will be found any more: the connection
// speaks something else, from the start, since an upgrade (101) or inside a
// tunnel (CONNECT), or it was closed.
func (c *Conn) Opaque() bool { return c.opaque }

// Feed takes the next segment. Those of one direction come in order of Offset;
// a response may come before its request if their times say otherwise. All
// bytes of a response should be told before the next request, if only as a
// segment without Data: a request whose response could lie in untold bytes is
// lost.
func (c *Conn) Feed(s *Segment, to *Sink) {
	st, other := &c.dirs[s.Dir&1], &c.dirs[s.Dir&1^1]
	st.moved = max(st.moved, s.Last)
	if len(other.buf) > 0 && other.state == lost && other != c.responseStream() && shapeOf(other.buf) == shapeShort {
		// What seemed to begin with a method there did not.
		c.abandon(other, to)
	}
	if c.admit(s, to); len(c.held) > 0 {
		c.replay(to)
	}
}

// admit takes a segment, or keeps it if it has to wait behind others.
func (c *Conn) admit(s *Segment, to *Sink) {
	switch {
	case c.opaque:
	case len(c.held) > 0 && c.held[0].Dir == s.Dir:
		c.hold(*s, s.Data, to)
	default:
		c.take(s, to)
	}
}

// take moves a segment through its stream.
func (c *Conn) take(s *Segment, to *Sink) {
	st := &c.dirs[s.Dir&1]
	if c.early != 0 && st == c.responseStream() {
		// No answer had moved when that request was sent.
		c.ahead = c.ahead || s.Offset == st.next && s.Time >= c.early
		c.early = 0
	}
	if c.under == unmatched && st == c.responseStream() {
		if c.waiting() > 0 && s.Time >= c.front().start {
			c.ignore(to)
		} else {
			st.until = s.Last + 1
		}
	}
	switch {
	case s.Offset > st.next:
		c.skip(st, s.Offset-st.next, span{s.Time, s.Time, true}, false, to)
	case s.Offset < st.next && s.Size > 0:
		c.drop(st, to)
		c.disorder(st, to)
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
	if s.Size == 0 || c.opaque {
		st.next = max(st.next, s.Offset)
		return
	}

	// What has to wait for its request waits with all that follows it.
	st.at = s.Offset
	if n := c.run(st, s, data, !s.rest, rest > 0, to); n < len(data) {
		st.next = s.Offset + uint64(n)
		held := *s
		held.rest = s.rest || n > 0
		held.Offset, held.Size, held.Tail = st.next, s.Size-uint64(n), tail
		c.hold(held, data[n:], to)
		return
	}
	if gap > 0 {
		c.skip(st, gap, s.span(), len(tail) > 0, to)
	}
	st.at = s.Offset + s.Size - uint64(len(tail))
	if n := c.run(st, s, tail, false, false, to); n < len(tail) {
		held := *s
		held.rest = true
		held.Size, held.Tail = uint64(len(tail)-n), nil
		st.next = s.Offset + s.Size - held.Size
		held.Offset = st.next
		c.hold(held, tail[n:], to)
		return
	}
	st.next = s.Offset + s.Size

	if st.state == lost && len(st.buf) == 0 {
		c.mayEnd(st, s.Size, data, tail, to)
	}
}

// mayEnd is called at the end of a segment while the end of the message under
// way is not known, and ends it where that is as good as sure.
func (c *Conn) mayEnd(st *stream, size uint64, data, tail []byte, to *Sink) {
	if uint64(len(data)) == size {
		tail = data
	}
	last := st.coded && (bytes.HasSuffix(tail, []byte("\r\n0\r\n\r\n")) ||
		!st.early && size == 5 && string(tail) == "0\r\n\r\n")
	switch {
	case st == c.requestStream():
		if last && c.open {
			c.endRequest(InexactRequest)
		}
	case c.under != matched:
	case last && c.waiting() == 0 && !c.hidden && !st.blind && len(c.requestStream().buf) == 0: // nothing else can be in it
		st.state = atHead
		c.finish(Complete, to)
	case last || st.msg.bytes >= c.likely:
		c.conclude(to)
	}
}

// run moves captured bytes, from a segment's start or not and with more of it
// to follow or not, and returns how many. Fewer than all means that a response
// has to wait for its request.
func (c *Conn) run(st *stream, s *Segment, b []byte, start, more bool, to *Sink) int {
	all, from := len(b), st.at
	for len(b) > 0 && !c.opaque {
		n, ok := len(b), true
		st.at = from + uint64(all-len(b))
		if st.spare {
			st.spare = false
			var h head
			if h.parse(b, shapeRequest, doubtful); start && h.lined {
				st.state = atHead
			}
		}
		switch st.state {
		case atHead, lost:
			n, ok = c.head(st, s, b, start, more, to)
			if !ok {
				return all - len(b) + n
			}
			b, start = b[n:], false
			continue
		case inBody, inChunk:
			if uint64(n) > st.left {
				n = int(st.left)
			}
			st.left -= uint64(n)
		case untilClose:
		default:
			n, ok = st.chunkLine(b)
		}
		st.msg.bytes += uint64(n)
		st.msg.last = s.Last
		b, start = b[n:], start && n == 0
		st.inner = s.Time != s.Last && (more || len(b) > 0)
		c.step(st, ok, to)
	}
	return all
}

// step goes on after bytes of a body or its framing have moved.
func (c *Conn) step(st *stream, ok bool, to *Sink) {
	switch {
	case !ok:
		c.unframe(st, to)
	case st.state == inChunk && st.left == 0:
		st.state, st.line = inChunkEnd, 0
	case st.state == inBody && st.left == 0:
		c.end(st, to)
	}
}

// chunkLine reads what stands between chunks (RFC 9112, 7.1): up to a chunk,
// the end of the body, an error or the end of b.
func (st *stream) chunkLine(b []byte) (n int, ok bool) {
	for n < len(b) {
		ch := b[n]
		switch st.state {
		case inChunkSize:
			digit, isDigit := unhex(ch)
			switch {
			case isDigit && st.line < maxDigits:
				st.left = st.left<<4 | digit
				st.line++
			case isDigit || st.line == 0:
				return n, false
			case ch == '\r' || ch == '\n' || ch == ';' || ch == ' ' || ch == '\t':
				st.state = inChunkExt
				continue // not taken yet
			default:
				return n, false
			}
		case inChunkExt:
			st.line++
			switch {
			case ch == '\n' && st.left > 0:
				st.state = inChunk
				return n + 1, true
			case ch == '\n':
				st.state, st.line = inTrailer, 0
			case st.line > maxLine:
				return n, false
			}
		case inChunkEnd:
			switch {
			case ch == '\r' && st.line == 0:
				st.line++
			case ch == '\n':
				st.state, st.line, st.left = inChunkSize, 0, 0
			default:
				return n, false
			}
		case inTrailer:
			st.left++
			switch {
			case ch == '\n' && st.line == 0:
				st.state, st.left = inBody, 0 // which is over
				return n + 1, true
			case ch == '\n':
				st.line = 0
			case ch != '\r':
				st.line++
			}
			if st.line > maxLine || st.left > maxTrailer {
				return n, false
			}
		}
		n++
	}
	return n, true
}

func unhex(ch byte) (digit uint64, ok bool) {
	switch {
	case '0' <= ch && ch <= '9':
		return uint64(ch - '0'), true
	case 'a' <= ch|0x20 && ch|0x20 <= 'f':
		return uint64(ch|0x20-'a') + 10, true
	}
	return 0, false
}

// A span says when bytes moved.
type span struct {
	first, last int64
	untold      bool // some time before first and last
}

func (s *Segment) span() span { return span{s.Time, s.Last, false} }

// skip moves n bytes that were not captured, of a segment or untold.
func (c *Conn) skip(st *stream, n uint64, when span, more bool, to *Sink) {
	if c.opaque || n == 0 {
		return
	}
	st.spare = false
	if len(st.buf) > 0 {
		c.cut(st, to)
	}
	moved := n
	switch st.state {
	case inBody, inChunk:
		moved = min(n, st.left)
		st.left -= moved
	case untilClose:
	case lost:
		c.stray(st, n, when, to)
		return
	case atHead:
		c.disorder(st, to)
		c.stray(st, n, when, to)
		return
	default:
		c.unframe(st, to)
		c.stray(st, n, when, to)
		return
	}
	n -= moved
	st.msg.bytes += moved
	st.inner = when.untold || when.first != when.last && (more || n > 0)
	if !when.untold {
		st.msg.last = when.last
	}
	c.step(st, true, to)
	c.skip(st, n, when, more, to)
}

// stray moves bytes that lie between messages whose borders are not known.
func (c *Conn) stray(st *stream, n uint64, when span, to *Sink) {
	st.msg.bytes += n
	st.strayed = max(st.strayed, when.last)
	if when.untold {
		st.blind = true
	} else {
		st.msg.last = when.last
	}
	st.until = when.first + 1
	switch {
	case !c.known:
	case st == c.requestStream():
		c.hidden = true
		st.blind = st.blind || c.waiting() == 0
	case c.under == none && c.waiting() > 0 && when.first >= c.front().start:
		// An answer began, and it could not be read.
		c.lose(to)
	}
}

// unframe is called where the framing of a chunked body was lost.
func (c *Conn) unframe(st *stream, to *Sink) {
	to.Resyncs++
	st.state = lost
	if st == c.requestStream() {
		c.hidden = true
	} else if c.under == unmatched {
		c.under = none
	}
}

// disorder is called where there is no head at a place where there should be
// one, or where bytes that moved there were not seen.
func (c *Conn) disorder(st *stream, to *Sink) {
	to.Resyncs++
	st.state, st.blind = lost, true
	switch {
	case !c.known:
	case st != c.requestStream():
		c.interim = 0
		if c.under == unmatched {
			c.under = none
		}
		if c.under == none {
			c.lose(to)
		}
	case c.waiting() > 0 && c.last().is("CONNECT"):
		// Bytes for the tunnel, ahead of the answer.
	case !c.proven:
		c.lose(to)
	default:
		c.hidden = true
	}
}

// drop forgets a head that is not whole.
func (c *Conn) drop(st *stream, to *Sink) {
	to.put(st.buf)
	st.buf, st.lined = nil, false
}

// head reads b, which begins or goes on with a head if anything does. It
// returns how much of b it took, and false if the rest has to wait.
func (c *Conn) head(st *stream, s *Segment, b []byte, start, more bool, to *Sink) (n int, ok bool) {
	had := len(st.buf)
	if had == 0 {
		if st.state == lost && !start {
			c.stray(st, uint64(len(b)), s.span(), to)
			return len(b), true
		}
		// RFC 9112, 2.2: empty lines before a request are ignored.
		for st.state == atHead && n < len(b) && (b[n] == '\r' || b[n] == '\n') {
			n++
		}
		if b = b[n:]; len(b) == 0 {
			return n, true
		}
	}
	limit := to.maxHead()
	src := b[:min(len(b), limit-had)]
	if had > 0 {
		st.buf = append(st.buf, src...)
		src = st.buf
	}

	var h head
	as, in := c.shape(st, src)
	size, v, cut := 0, partial, false
	switch {
	case as == shapeShort:
	case as == shapeTLS || as == shapeOther:
		v = wrong
	case in > sure && as == shapeRequest && pieced(src, had):
		v, st.blind = wrong, true
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
	if v != wrong && c.barred(st, as, in) {
		v = wrong
	}
	switch {
	case v == wrong:
		if c.foreign(st, as, h.preface) {
			return n + len(b), true
		}
		was := st.state
		if had > 0 {
			st.buf = st.buf[:had]
			c.abandon(st, to)
		} else if was == atHead {
			c.disorder(st, to)
		}
		if start && (had > 0 || was == atHead) {
			m, ok := c.head(st, s, b, start, more, to) // as a stranger
			return n + m, ok
		}
		c.stray(st, uint64(len(b)), s.span(), to)
		return n + len(b), true
	case had == 0 && as == shapeResponse && c.mustWait():
		return n, false
	}

	m := message{start: s.Time, offset: st.at + uint64(n)}
	if s.Time != s.Last && !start {
		m.inexact = InexactTime
	}
	if had > 0 {
		m = st.begun
	} else {
		st.batch = start
	}
	m.last = s.Last
	if v == partial {
		if had == 0 {
			st.buf = append(to.get(), src...)
		}
		st.begun = m
		return n + len(b), true
	}
	m.bytes = uint64(size)
	st.inner = s.Time != s.Last && (more || size-had < len(b))
	c.accept(st, as, &h, m, cut, to)
	return n + size - had, true
}

// cut reads what came of a head whose rest was not captured.
func (c *Conn) cut(st *stream, to *Sink) {
	var h head
	as, in := c.shape(st, st.buf)
	m := st.begun
	m.bytes = uint64(len(st.buf))
	if h.parseCut(st.buf, as, in) && !c.barred(st, as, in) {
		c.accept(st, as, &h, m, true, to)
		return
	}
	c.abandon(st, to)
	st.blind = true
}

// abandon takes what was kept of a head for something else.
func (c *Conn) abandon(st *stream, to *Sink) {
	n := uint64(len(st.buf))
	c.drop(st, to)
	if st.state == atHead {
		c.disorder(st, to)
	}
	c.stray(st, n, span{st.begun.start, st.begun.last, false}, to)
}

// shape returns what b must be, or else what it looks like, and how sure it is
// that a head begins with it.
func (c *Conn) shape(st *stream, b []byte) (as shape, in doubt) {
	as = shapeResponse
	if st == c.requestStream() {
		as = shapeRequest
	}
	if st.state != lost {
		if !c.known {
			as = shapeOf(b)
		}
		return as, sure
	}
	if !c.proven {
		as = shapeOf(b)
	}
	if st.blind || !c.known || c.flips(st, as) {
		return as, blind
	}
	return as, doubtful
}

// flips reports whether a message of that shape shows that requests go the
// other way.
func (c *Conn) flips(st *stream, as shape) bool {
	return c.known && (as == shapeRequest) != (st == c.requestStream())
}

// barred reports whether what looks like a head must be a part of something
// else, where it is not known: a client that waits for an answer or is in the
// middle of something sends no request, a server that has no further request
// sends no response.
func (c *Conn) barred(st *stream, as shape, in doubt) bool {
	usual := c.known && !c.flips(st, as)
	switch {
	case in == sure:
		return false
	case as != shapeRequest:
		return usual && c.under == matched && c.waiting() == 0 && c.forced
	case usual && c.waiting() > 0:
		return true
	}
	return st.strayed > c.dirs[c.index(st)^1].moved
}

// foreign reports whether what came instead of a head shows that the connection
// does not speak HTTP/1.
func (c *Conn) foreign(st *stream, as shape, preface bool) bool {
	if c.kind != Unknown || st.state == lost && !preface || c.joined && !preface {
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
func (c *Conn) accept(st *stream, as shape, h *head, m message, cut bool, to *Sink) {
	if !c.known || c.flips(st, as) {
		dir := c.index(st)
		if as != shapeRequest {
			dir ^= 1
		}
		if c.known { // wrongly
			to.Resyncs++
			c.lose(to)
			c.under, c.interim, c.unsure = none, 0, false
			other := &c.dirs[c.index(st)^1]
			c.drop(other, to)
			other.state, other.blind = lost, true
			if n := len(c.held); n > 0 {
				other.next = c.held[n-1].Offset + c.held[n-1].Size
			}
			c.held, c.heldData = nil, 0
		}
		c.known, c.requests = true, dir
		c.proven = !c.joined && st.state == atHead
	}
	c.kind, st.blind = HTTP1, false
	if as == shapeRequest {
		c.request(st, h, m, cut, to)
	} else {
		c.response(st, h, m, cut, to)
	}
	c.drop(st, to)
}

// body goes on behind a head that was whole.
func (c *Conn) body(st *stream, h *head, otherwise state, to *Sink) {
	st.line, st.left, st.coded, st.early = 0, 0, h.chunked, false
	switch {
	case h.chunked:
		st.state = inChunkSize
	case h.coded && st == c.requestStream(), h.conflict:
		c.unframe(st, to)
	case h.coded:
		st.state = untilClose
	case h.length > 0:
		st.state, st.left = inBody, uint64(h.length)
	case h.length == 0 || otherwise == atHead:
		c.end(st, to)
	default:
		st.state = otherwise
	}
}

// end is called where a message is over.
func (c *Conn) end(st *stream, to *Sink) {
	st.state = atHead
	if st.inner {
		st.msg.inexact |= InexactTime
	}
	if st == c.requestStream() {
		if c.open {
			c.endRequest(0)
		}
		return
	}
	c.finish(Complete, to)
}

func (c *Conn) index(st *stream) Direction {
	if st == &c.dirs[Sent] {
		return Sent
	}
	return Received
}

func (c *Conn) requestStream() *stream {
	if !c.known {
		return nil
	}
	return &c.dirs[c.requests]
}

func (c *Conn) responseStream() *stream {
	if !c.known {
		return nil
	}
	return &c.dirs[c.requests^1]
}
