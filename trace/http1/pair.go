package http1

import "math"

// pairing is the part of a Conn that joins requests and answers.
//
// Answers come in the order of their requests, so a queue pairs them as long as
// no head is missed. Where the place in the stream of responses is lost, the
// requests that wait are given up, and so are those that follow, until one
// begins at a turn. By then all earlier ones have their answers, unless the
// client does not wait for them: one that was seen not to is not paired again.
type pairing struct {
	queue []request // from first on, those without a whole answer
	first int
	text  int // bytes of text in queue

	answered bool // the front of queue is being answered, by this:
	status   int
	minor    uint8
	coded    bool   // it is or may be in chunks
	cutHead  bool   // its head may not be over
	likely   uint64 // its size, if its end has to be concluded
	interim  uint64 // bytes of 1xx responses before the one that counts
	expects  uint64 // size of a request's head that holds its body back for a 100

	due     bool  // the place in responses is lost, but an answer to the front comes next
	dueFrom int64 // and not before that time
	ahead   bool  // the client sends requests before earlier ones are answered
	early   int64 // when it seemed to, 0: not; the next response will show
	asked   bool  // a request was seen
	full    bool  // a request found no room, so none behind it can be paired
	open    bool  // the last request in queue is still being sent
	forced  bool  // responses are not held any more

	held, again []Segment // copies of responses that came before their request
	heldData    int
}

// A request waits for its answer.
type request struct {
	text             []byte // method, target and host
	start, end       int64
	offset           uint64 // of its first byte
	bytes            uint64
	targetAt, hostAt uint32
	hasHost          bool
	minor            uint8
	truncated        bool
	stuck            bool // was reported so
	inexact          Inexact
}

const maxIdleQueue = 16

func (r *request) method() []byte        { return r.text[:r.targetAt] }
func (r *request) is(method string) bool { return string(r.method()) == method }
func (c *pairing) front() *request       { return &c.queue[c.first] }
func (c *pairing) last() *request        { return &c.queue[len(c.queue)-1] }

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

// request takes the head of a request.
func (c *Conn) request(st *flow, h *head, m progress, cut bool, to *Sink) {
	if c.open { // and its end was not seen
		c.endRequest(InexactRequest)
	}
	responses := c.answering()
	if m.first && c.asked && (!m.turned || len(responses.buf) > 0 || c.answered && responses.state != lost) {
		c.early = m.start
	}
	c.asked = true
	if m.turn && !m.late && !c.ahead {
		c.settle(m.start, to)
	}
	st.msg = m
	switch {
	case responses.state == lost && !c.due:
		to.Lost++
	case c.full || len(c.queue)-c.first >= maxWaiting || c.text >= maxText:
		to.Overflow++
		c.full = true
	default:
		c.push(h, m, to)
	}
	c.expects = 0
	if h.expect {
		c.expects = m.bytes
	}
	if cut {
		st.state = lost
		return
	}
	if st.frame(h, false); st.state == lost {
		c.misplace(st, to)
	} else if st.state == over {
		c.end(st, to)
	}
}

// settle is called when a request begins at a turn: all before it is over.
func (c *Conn) settle(now int64, to *Sink) {
	if st := c.answering(); st.state == lost && len(st.buf) == 0 {
		if c.answered {
			c.conclude(to)
		}
		c.due, c.dueFrom = true, now
	}
	if c.first == len(c.queue) {
		c.full = false
	}
}

func (c *Conn) push(h *head, m progress, to *Sink) {
	if c.first > 0 && c.first >= cap(c.queue)/2 && len(c.queue) == cap(c.queue) {
		n := copy(c.queue, c.queue[c.first:])
		clear(c.queue[n:])
		c.queue, c.first = c.queue[:n], 0
	}
	text := append(append(append(to.get(), h.method...), h.target...), h.host...)
	c.text += len(text)
	c.queue = append(c.queue, request{
		text:      text,
		start:     m.start,
		offset:    m.offset,
		targetAt:  uint32(len(h.method)),
		hostAt:    uint32(len(h.method) + len(h.target)),
		hasHost:   h.host != nil,
		minor:     h.minor,
		truncated: h.truncated,
	})
	c.open = true
}

// endRequest is called where the request under way is over.
func (c *Conn) endRequest(inexact Inexact) {
	m, r := &c.asking().msg, c.last()
	r.end, r.bytes, r.inexact = m.last, m.bytes, m.inexact|inexact
	c.open = false
}

// response takes the head of a response.
func (c *Conn) response(st *flow, h *head, m progress, cut bool, to *Sink) {
	c.due = false
	switch {
	case c.waiting() == 0 || c.front().start > m.start:
		// Its request is not known. That could be a HEAD, and the response's
		// end depends on it.
		to.Unmatched++
		c.misplace(st, to)
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
		st.state = lost
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

// conclude ends the response under way, whose end was not seen.
func (c *Conn) conclude(to *Sink) {
	c.answering().msg.inexact |= InexactResponse
	c.finish(Complete, to)
}

// finish is called where a response is over.
func (c *Conn) finish(ending Ending, to *Sink) {
	st := c.asking()
	if c.open && len(c.queue)-c.first == 1 && c.expects == st.msg.bytes && c.interim == 0 {
		// RFC 9110, 10.1.1: without a 100 the body may never come.
		st.state = lost
	}
	c.tell(to.Exchange, c.front(), ending, 0, to)
	c.pop(to)
}

func (c *Conn) pop(to *Sink) {
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
	c.answered, c.interim = false, 0
}

// lose gives up the requests that wait: which response is whose, is not known.
func (c *Conn) lose(to *Sink) {
	keep := c.unanswered()
	for i := keep; i < len(c.queue); i++ {
		r := &c.queue[i]
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

// tell reports a request with its answer, or where there is none with its end.
func (c *Conn) tell(report func(*Exchange), r *request, ending Ending, end int64, to *Sink) {
	if report == nil {
		return
	}
	x := &to.x
	*x = Exchange{
		Method:          r.method(),
		Target:          r.text[r.targetAt:r.hostAt],
		Minor:           r.minor,
		Ending:          ending,
		TargetTruncated: r.truncated,
		Inexact:         r.inexact,
		RequestStart:    r.start,
		RequestEnd:      r.end,
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
			x.Status, x.Minor = c.status, c.minor
			x.ResponseStart, x.ResponseEnd, x.ResponseBytes = m.start, m.last, m.bytes
			x.Inexact |= m.inexact
		}
	}
	report(x)
}

// Oldest returns when the oldest request began that no answer has begun to
// come for and that Stuck has not reported yet.
func (c *Conn) Oldest() (start int64, ok bool) {
	for i := c.unanswered(); i < len(c.queue); i++ {
		if r := &c.queue[i]; !r.stuck {
			return r.start, true
		}
	}
	return 0, false
}

// Stuck reports to Sink.Stuck, once each, the requests that began at or before
// a time and that no answer has begun to come for. Their exchanges are reported
// as ever when they are over.
func (c *Conn) Stuck(before int64, to *Sink) {
	for i := c.unanswered(); i < len(c.queue) && c.queue[i].start <= before; i++ {
		if r := &c.queue[i]; !r.stuck {
			r.stuck = true
			c.tell(to.Stuck, r, Complete, 0, to)
		}
	}
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
		for c.first < len(c.queue) {
			c.tell(to.Exchange, c.front(), why, now, to)
			c.pop(to)
		}
	}
	for i := range c.dirs {
		c.dirs[i].drop(to)
	}
	c.queue, c.held, c.again, c.heldData = nil, nil, nil, 0
	c.opaque = true
}

// mustWait reports whether a response has to wait for its request: two threads
// on two processors may have their segments told in the wrong order.
func (c *Conn) mustWait(st *flow) bool {
	return c.waiting() == 0 && st.state == atHead && !c.forced
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
