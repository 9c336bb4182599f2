package http1

// A flow is where one direction of a connection stands. It follows the
// framing of messages (RFC 9112, 6 and 7) and knows nothing of the other
// direction.
type flow struct {
	next  uint64   // offset of the byte that comes next
	moved int64    // when the last byte moved
	left  uint64   // bytes left of the body or chunk; in a trailer bytes so far
	msg   progress // under way; where the place was lost, all since
	begun progress // whose head is in buf
	buf   []byte   // a head that is not whole yet
	line  int      // bytes of the line under way in chunked framing
	state state
	lined bool // the first line in buf was read
	asks  bool // buf is surely the beginning of a request
	stuck bool // which was reported to be stuck
	inner bool // the segment goes on where the message ends
	begin bool // what may stand before the first request of a connection is over
}

// A progress is what is known of a message while it moves.
type progress struct {
	start, last int64
	offset      uint64 // of its first byte
	bytes       uint64
	inexact     Inexact
	first       bool // it began where a segment begins
	split       bool // the first word of its head came in several segments
	turn        bool // and that one was at a turn: see Conn.turn
	turned      bool // or at what may be one: see Conn.turned
	late        bool // but bytes that could not be read moved the other way since
}

type state uint8

const (
	atHead     state = iota // where a head begins or goes on
	lost                    // where the next head is, is not known
	inPreamble              // of known length, before the first request
	inBody                  // of known length
	untilClose              // in a body that the end of the connection ends
	inChunkSize
	inChunkExt // between size and line end
	inChunk
	inChunkEnd // at the line end behind a chunk
	inTrailer
	over // the message is whole
)

// frame goes on behind a head (RFC 9112, 6.3), but for what the request decides
// about its response.
func (st *flow) frame(h *head, response bool) {
	st.line, st.left = 0, 0
	switch {
	case h.chunked:
		st.state = inChunkSize
	case h.coded && response:
		st.state = untilClose
	case h.coded || h.conflict:
		st.state = lost
	case h.length > 0:
		st.state, st.left = inBody, uint64(h.length)
	case h.length < 0 && response:
		st.state = untilClose
	default:
		st.state = over
	}
}

// read moves through the captured bytes of a body or its framing, up to where
// the state changes, and returns how many. It is false where they are wrong.
func (st *flow) read(b []byte) (n int, ok bool) {
	switch st.state {
	case inBody, inChunk, untilClose, inPreamble:
		return int(st.pass(uint64(len(b)))), true
	}
	return st.readLine(b)
}

// pass moves over bytes that need not be read, and returns how many of n are
// such.
func (st *flow) pass(n uint64) uint64 {
	switch st.state {
	case untilClose:
		return n
	case inBody, inChunk, inPreamble:
	default:
		return 0
	}
	n = min(n, st.left)
	st.left -= n
	switch {
	case st.left > 0:
	case st.state == inBody:
		st.state = over
	case st.state == inPreamble:
		st.state = atHead
	default:
		st.state, st.line = inChunkEnd, 0
	}
	return n
}

// readLine reads what stands between chunks (RFC 9112, 7.1): up to a chunk, the
// end of the body, an error or the end of b.
func (st *flow) readLine(b []byte) (n int, ok bool) {
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
				st.state, st.line = inChunkExt, 0
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
				st.state = over
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

// drop forgets a head that is not whole.
func (st *flow) drop(to *Sink) {
	to.put(st.buf)
	st.buf, st.lined, st.asks, st.stuck = nil, false, false, false
}
