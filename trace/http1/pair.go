package http1

import "tracer/trace/message"

// pairing is the part of a Conn that joins requests and answers: the stream of
// each direction, and the requests that wait.
//
// Answers come in the order of their requests, so a queue pairs them as long as
// no head is missed. Where the place in the stream of responses is lost, the
// requests that wait are given up, and so are those that follow, until one
// begins at a turn. By then all earlier ones have their answers, unless the
// client does not wait for them: one that was seen not to is not paired again.
type pairing struct {
	dirs     [2]flow
	requests Direction // which way requests go
	known    bool      // requests is set

	queue []request // from first on, those without a whole answer
	first int
	text  int // bytes of text in queue

	answered bool // the front of queue is being answered, by this:
	odd      bool // something else than HTTP, as far as it has come
	status   int
	minor    uint8
	coded    bool   // it is or may be in chunks
	cutHead  bool   // its head may not be over
	likely   uint64 // its size, if its end has to be concluded
	interim  uint64 // bytes of 1xx responses before the one that counts
	expects  uint64 // size of a request's head that holds its body back for a 100

	due     bool   // the place in responses is lost, but an answer to the front comes next
	dueFrom int64  // and not before that time
	ahead   bool   // the client sends requests before earlier ones are answered
	early   int64  // when it seemed to, 0: not; the next response will show
	asked   bool   // a request was seen
	nth     uint64 // how many were
	missing bool   // others may have been there, unseen
	full    bool   // a request found no room, so none behind it can be paired
	owed    int    // requests that were given up, whose answers may still come
	open    bool   // the last request in queue is still being sent
	strayed bool   // the place was lost, in some direction
}

// A request waits for its answer.
type request struct {
	text             []byte // method, target and host
	trace            message.Trace
	start, end       int64
	offset           uint64 // of its first byte
	position         uint64 // on the connection, see Exchange
	bytes            uint64
	targetAt, hostAt uint32
	hasHost          bool
	minor            uint8
	truncated        bool
	incomplete       bool // its head never ended
	alone            bool // all before it had their answers
	h2c              bool // its answer may come in HTTP/2
	stuck            bool // was reported so
	inexact          Inexact
}

const maxIdleQueue = 16

func (r *request) method() []byte        { return r.text[:r.targetAt] }
func (r *request) is(method string) bool { return string(r.method()) == method }

// asking and answering return the streams of requests and responses, nil where
// it is not known which is which.
func (c *pairing) asking() *flow {
	if !c.known {
		return nil
	}
	return &c.dirs[c.requests]
}

func (c *pairing) answering() *flow {
	if !c.known {
		return nil
	}
	return &c.dirs[c.requests^1]
}

func (c *pairing) opposite(st *flow) *flow { return &c.dirs[c.direction(st)^1] }

func (c *pairing) direction(st *flow) Direction {
	if st == &c.dirs[Sent] {
		return Sent
	}
	return Received
}

func (c *pairing) front() *request { return &c.queue[c.first] }
func (c *pairing) last() *request  { return &c.queue[len(c.queue)-1] }

// unanswered returns where in queue the requests begin whose answer has not
// begun.
func (c *pairing) unanswered() int {
	if c.answered {
		return c.first + 1
	}
	return c.first
}

// waiting returns how many requests have no answer under way.
func (c *pairing) waiting() int { return len(c.queue) - c.unanswered() }

func (c *pairing) push(h *head, m progress, to *Sink) {
	if c.first > 0 && c.first >= cap(c.queue)/2 && len(c.queue) == cap(c.queue) {
		n := copy(c.queue, c.queue[c.first:])
		clear(c.queue[n:])
		c.queue, c.first = c.queue[:n], 0
	}
	text := append(append(append(to.get(), h.method...), h.target...), h.host...)
	c.text += len(text)
	c.queue = append(c.queue, request{
		text:      text,
		trace:     h.traceparent(),
		start:     m.start,
		offset:    m.offset,
		position:  c.position(),
		targetAt:  uint32(len(h.method)),
		hostAt:    uint32(len(h.method) + len(h.target)),
		hasHost:   h.host != nil,
		minor:     h.minor,
		truncated: h.truncated,

		incomplete: h.incomplete,
		alone:      len(c.queue) == c.first && !c.ahead,
		stuck:      c.asking().stuck,
		h2c:        h.h2c,
	})
	c.open = true
}

// position is that of the last request which was seen.
func (c *pairing) position() uint64 {
	if c.missing {
		return 0
	}
	return c.nth
}

// endRequest is called where the request under way is over.
func (c *pairing) endRequest(inexact Inexact) {
	m, r := &c.asking().msg, c.last()
	r.end, r.bytes, r.inexact = m.last, m.bytes, m.inexact|inexact
	c.open = false
}

// settle is called when a request begins at a turn: all before it is over.
func (c *pairing) settle(now int64, to *Sink) {
	if st := c.answering(); st.state == lost && len(st.buf) == 0 {
		if c.answered {
			c.conclude(to)
		}
		c.due, c.dueFrom = true, now
	}
	c.owed = 0
	if c.first == len(c.queue) {
		c.full = false
	}
}

// conclude ends the response under way, whose end was not seen.
func (c *pairing) conclude(to *Sink) {
	c.answering().msg.inexact |= InexactResponse
	c.finish(Complete, to)
}

// finish is called where a response is over.
func (c *pairing) finish(ending Ending, to *Sink) {
	st := c.asking()
	if c.open && len(c.queue)-c.first == 1 && c.expects == st.msg.bytes && c.interim == 0 {
		// RFC 9110, 10.1.1: without a 100 the body may never come.
		st.state, c.strayed = lost, true
	}
	if c.odd {
		ending = NotHTTP
	}
	c.tell(to.Exchange, c.front(), ending, 0, to)
	c.pop(to)
}

func (c *pairing) pop(to *Sink) {
	r := c.front()
	c.text -= len(r.text)
	to.put(r.text)
	*r = request{}
	c.first++
	if c.first == len(c.queue) {
		c.queue, c.first, c.open = c.queue[:0], 0, false
		if cap(c.queue) > maxIdleQueue {
			c.queue = nil
		}
	}
	c.answered, c.odd, c.interim = false, false, 0
}

// lose gives up the requests that wait: which response is whose, is not known.
func (c *pairing) lose(to *Sink) {
	keep := c.unanswered()
	for i := keep; i < len(c.queue); i++ {
		r := &c.queue[i]
		c.tell(to.GaveUp, r, Complete, 0, to)
		c.owed++
		c.text -= len(r.text)
		to.put(r.text)
		*r = request{}
		to.Lost++
		c.open = false
	}
	if c.queue = c.queue[:keep]; !c.answered {
		c.queue, c.first, c.interim = c.queue[:0], 0, 0
	}
	c.due = false
}

// giveUp tells of a request that goes this way and is not paired, by its head.
func (c *pairing) giveUp(way Direction, h *head, m progress, to *Sink) {
	c.owed++
	if to.GaveUp != nil {
		to.GaveUp(c.began(way, h, m, to))
	}
}

// began is what is known of an exchange by its request's head.
func (c *pairing) began(way Direction, h *head, m progress, to *Sink) *Exchange {
	x := &to.x
	*x = Exchange{
		Method:          h.method,
		Target:          h.target,
		Host:            h.host,
		Trace:           h.traceparent(),
		Minor:           h.minor,
		TargetTruncated: h.truncated,
		Inexact:         m.inexact | InexactRequest,
		RequestStart:    m.start,
		RequestEnd:      m.last,
		RequestOffset:   m.offset,
		RequestBytes:    m.bytes,
	}
	if way == Received {
		x.Role = Server
	}
	return x
}

// unmatched tells of an answer whose request is not known, unless it is one that was
// given up.
func (c *pairing) unmatched(h *head, m progress, to *Sink) {
	to.Unmatched++
	if c.owed > 0 {
		c.owed--
		return
	}
	if to.GaveUp == nil {
		return
	}
	x := &to.x
	*x = Exchange{Minor: h.minor, Status: h.status, ResponseStart: m.start, ResponseEnd: m.last, ResponseBytes: m.bytes, Inexact: InexactResponse}
	if c.requests == Received {
		x.Role = Server
	}
	to.GaveUp(x)
}

// tell reports a request with its answer, or where there is none with its end.
func (c *pairing) tell(report func(*Exchange), r *request, ending Ending, end int64, to *Sink) {
	if report == nil {
		return
	}
	x := &to.x
	*x = Exchange{
		Method:          r.method(),
		Target:          r.text[r.targetAt:r.hostAt],
		Trace:           r.trace,
		Minor:           r.minor,
		Ending:          ending,
		TargetTruncated: r.truncated,
		Incomplete:      r.incomplete,
		Inexact:         r.inexact,
		RequestStart:    r.start,
		RequestEnd:      r.end,
		Position:        r.position,
		RequestOffset:   r.offset,
		RequestBytes:    r.bytes,
		ResponseEnd:     end,
	}
	if c.requests == Received {
		x.Role = Server
	}
	if r.hasHost {
		x.Host = r.text[r.hostAt:]
	}
	if c.open && r == c.last() {
		m := &c.asking().msg
		x.RequestEnd, x.RequestBytes = m.last, m.bytes
		x.Inexact = m.inexact | InexactRequest
	}
	if r == c.front() {
		x.ResponseBytes = c.interim
		if c.answered {
			m := &c.answering().msg
			x.Status = c.status
			if c.minor != noMinor {
				x.Minor = c.minor
			}
			x.ResponseStart, x.ResponseEnd, x.ResponseBytes = m.start, m.last, m.bytes
			if c.odd {
				x.ResponseStart = 0 // no answer of HTTP came
			}
			x.Inexact |= m.inexact
		}
	}
	report(x)
}
