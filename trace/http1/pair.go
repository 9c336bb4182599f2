package http1

import "math"

// pairing is the part of a Conn that joins requests and answers.
//
// Answers come in the order of their requests, so a queue pairs them, as long
// as no head is missed. After one was, two things bring the order back. A
// request that begins a segment says that all earlier ones have their answers,
// unless this client was seen to send ahead of an answer in separate calls. And
// what is uncertain is not paired: it is taken from the queue and counted.
type pairing struct {
	queue  []request // from first on, those without a whole answer
	first  int
	text   int    // bytes of text in queue
	pushed uint64 // requests ever

	batch      uint64 // number of the last request that began a segment
	batchStart int64

	under   answer // what the response under way is
	status  int
	minor   uint8
	interim uint64 // bytes of 1xx responses before the one that counts
	likely  uint64 // the response's size, if its end has to be concluded
	expects uint64 // size of a head that holds its body back for a 100

	held     []Segment // responses without request, copied
	heldData int

	early int64 // a request began then, with others waiting; 0: none

	open   bool // the last request in queue is still being sent
	ahead  bool // the client sends requests before earlier ones are answered
	hidden bool // requests may have been missed since the last one
	unsure bool // responses may have been missed: which is the next, is not known
	forced bool // held segments have to be taken as they are
}

type answer uint8

const (
	none      answer = iota
	matched          // the front of the queue is answered
	unmatched        // a request that is not known is answered
)

// A request waits for its answer.
type request struct {
	text             []byte // method, target and host
	start, end       int64
	offset           uint64 // of its first byte
	bytes            uint64
	number           uint64
	targetAt, hostAt uint32
	hasHost          bool
	minor            uint8
	truncated        bool
	doubt            bool // others may have been missed right before it
	stuck            bool // was reported so
	inexact          Inexact
}

const maxIdleQueue = 4

func (r *request) method() []byte        { return r.text[:r.targetAt] }
func (r *request) is(method string) bool { return string(r.method()) == method }
func (c *pairing) front() *request       { return &c.queue[c.first] }
func (c *pairing) last() *request        { return &c.queue[len(c.queue)-1] }
func (c *pairing) queued() int           { return len(c.queue) - c.first }

// waiting returns how many requests have no answer under way.
func (c *pairing) waiting() int {
	if c.under == matched {
		return c.queued() - 1
	}
	return c.queued()
}

// request takes the head of a request.
func (c *Conn) request(st *stream, h *head, m message, cut bool, to *Sink) {
	if c.open { // and its end was not seen
		c.endRequest(InexactRequest)
	}
	c.flush(m.start, to)
	if st != c.requestStream() {
		return // what was held showed that it is none
	}
	if st.batch && c.waiting() > 0 && c.under == none {
		c.early = m.start
	}
	if st.batch && !c.ahead {
		c.turn(m.start, to)
	}
	st.msg = m
	switch {
	case c.unsure, m.start < c.responseStream().until:
		to.Lost++
	case c.queued() >= maxWaiting || c.text >= maxText:
		to.Overflow++
		c.hidden = true
	default:
		c.push(h, m, st.batch, to)
	}
	c.expects = 0
	if h.expect {
		c.expects = m.bytes
	}
	if cut {
		st.state, st.coded, st.early = lost, h.chunked || h.length < 0, true
		c.hidden = true
		return
	}
	c.body(st, h, atHead, to)
}

// turn is called when a request begins a segment: what came before is over.
func (c *Conn) turn(now int64, to *Sink) {
	st := c.responseStream()
	switch {
	case c.under == unmatched:
		c.ignore(to)
	case c.under == matched && st.state == lost && now >= st.msg.last:
		c.conclude(to)
	}
	if c.unsure && now >= st.msg.last {
		c.unsure = false
	}
}

// ignore takes the response under way, to a request that is not known, for over.
// Where it ends could depend on its request.
func (c *Conn) ignore(to *Sink) {
	st := c.responseStream()
	c.under, st.state = none, lost
	c.drop(st, to)
}

func (c *Conn) push(h *head, m message, batch bool, to *Sink) {
	if c.first > 0 && c.first >= cap(c.queue)/2 && len(c.queue) == cap(c.queue) {
		n := copy(c.queue, c.queue[c.first:])
		clear(c.queue[n:])
		c.queue, c.first = c.queue[:n], 0
	}
	text := append(append(append(to.get(), h.method...), h.target...), h.host...)
	c.text += len(text)
	c.pushed++
	if batch {
		c.batch, c.batchStart = c.pushed, m.start
	}
	c.queue = append(c.queue, request{
		text:      text,
		start:     m.start,
		offset:    m.offset,
		number:    c.pushed,
		targetAt:  uint32(len(h.method)),
		hostAt:    uint32(len(h.method) + len(h.target)),
		hasHost:   h.host != nil,
		minor:     h.minor,
		truncated: h.truncated,
		doubt:     c.hidden && (c.waiting() > 0 || c.ahead),
	})
	c.hidden, c.open = false, true
}

// endRequest is called where the request under way is over.
func (c *Conn) endRequest(inexact Inexact) {
	m := &c.requestStream().msg
	r := c.last()
	r.end, r.bytes, r.inexact = m.last, m.bytes, m.inexact|inexact
	c.open = false
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
}

// response takes the head of a response.
func (c *Conn) response(st *stream, h *head, m message, cut bool, to *Sink) {
	if c.under == matched { // and its end was not seen
		c.conclude(to)
	}
	if h.status < 200 && h.status != 101 {
		// RFC 9110, 15.2: interim, not the answer.
		c.interim += m.bytes
		st.state = atHead
		if cut {
			c.disorder(st, to)
		}
		return
	}
	m.bytes += c.interim
	c.interim = 0
	c.under = unmatched
	if c.waiting() > 0 && c.front().doubt {
		c.lose(to)
	}
	// What began before the request is no answer to it.
	if c.waiting() > 0 && c.front().start <= m.start {
		// In one go with the response before, and a later request was
		// already sent by itself: the client does not wait.
		if st.state == atHead && c.front().number < c.batch && c.batchStart < m.start {
			c.ahead = true
		}
		c.under = matched
		c.proven = true
	} else {
		to.Unmatched++
		st.until = m.last + 1
		if c.ahead {
			c.lose(to)
		}
	}
	st.msg, c.status, c.minor = m, h.status, h.minor

	// RFC 9112, 6.3.
	bodiless := h.status == 204 || h.status == 304
	if c.under == matched {
		r := c.front()
		if h.status == 101 || h.status < 300 && r.is("CONNECT") {
			c.finish(Complete, to)
			c.lose(to)
			c.opaque = true
			return
		}
		bodiless = bodiless || r.is("HEAD")
	}
	switch {
	case cut:
		c.likely = math.MaxUint64
		st.state, st.coded, st.early = lost, h.chunked || h.length < 0, true
		switch {
		case c.under == unmatched:
			c.under = none
		case bodiless:
			c.likely = m.bytes
		case h.length >= 0 && !h.coded && !h.conflict:
			c.likely = m.bytes + uint64(h.length)
		}
	case bodiless:
		c.end(st, to)
	default:
		c.likely = math.MaxUint64
		c.body(st, h, untilClose, to)
	}
}

// conclude ends the response under way, whose end was not seen. Others may
// have followed it unseen.
func (c *Conn) conclude(to *Sink) {
	c.responseStream().msg.inexact |= InexactResponse
	c.finish(Complete, to)
	if c.waiting() > 0 {
		c.lose(to)
	}
}

// finish is called where a response is over.
func (c *Conn) finish(ending Ending, to *Sink) {
	if c.under == matched {
		req := c.requestStream()
		if c.open && c.queued() == 1 && c.expects > 0 && c.expects == req.msg.bytes && c.interim == 0 {
			// RFC 9110, 10.1.1: without a 100 the body may never come.
			req.spare = true
		}
		c.tell(to.Exchange, c.front(), ending, 0, to)
		c.pop(to)
	}
	c.under, c.interim = none, 0
}

// lose gives up the requests that wait: which response is whose, is not known.
func (c *Conn) lose(to *Sink) {
	keep := len(c.queue) - c.waiting()
	for i := keep; i < len(c.queue); i++ {
		r := &c.queue[i]
		c.text -= len(r.text)
		to.put(r.text)
		*r = request{}
		to.Lost++
		c.open = false
	}
	c.queue = c.queue[:keep]
	if c.queued() == 0 {
		c.queue, c.first = c.queue[:0], 0
	}
	c.unsure, c.hidden = true, false
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
		m := &c.requestStream().msg
		x.RequestEnd, x.RequestBytes = m.last, m.bytes
		x.Inexact = m.inexact | InexactRequest
	}
	if r == c.front() {
		x.ResponseBytes = c.interim
		if c.under == matched {
			m := &c.responseStream().msg
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
	for i := len(c.queue) - c.waiting(); i < len(c.queue); i++ {
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
	for i := len(c.queue) - c.waiting(); i < len(c.queue) && c.queue[i].start <= before; i++ {
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
	if c.under == matched {
		st := c.responseStream()
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
	if c.known && !c.opaque {
		st := c.responseStream()
		ending := why
		switch {
		case len(st.buf) > 0 && st.state == atHead:
			var h head
			if h.parseCut(st.buf, shapeResponse, sure) && h.status >= 200 {
				c.cut(st, to)
			}
		case len(st.buf) > 0 && st.state == lost:
			st.msg.bytes, st.msg.last = st.msg.bytes+uint64(len(st.buf)), st.begun.last
			fallthrough
		case st.state == untilClose || st.state == lost:
			if why == Closed {
				ending = Complete
			}
		}
		if c.under == matched {
			unseen := st.state == lost
			if unseen {
				st.msg.inexact |= InexactResponse
			}
			if st.inner {
				st.msg.inexact |= InexactTime
			}
			c.finish(ending, to)
			if unseen && c.waiting() > 0 {
				c.lose(to)
			}
		}
		for c.queued() > 0 {
			c.tell(to.Exchange, c.front(), why, now, to)
			c.pop(to)
			c.interim = 0
		}
	}
	for i := range c.dirs {
		c.drop(&c.dirs[i], to)
	}
	c.queue, c.held, c.heldData = nil, nil, 0
	c.opaque = true
}

// mustWait reports whether a response has to wait for its request: two threads
// on two processors may have their segments told in the wrong order.
func (c *Conn) mustWait() bool {
	return c.waiting() == 0 && c.under != unmatched && !c.unsure && !c.forced
}

// hold copies a segment to take it later.
func (c *Conn) hold(s Segment, data []byte, to *Sink) {
	s.Data = data
	n := len(s.Data) + len(s.Tail)
	if len(c.held) > 0 && c.held[0].Dir != s.Dir {
		c.flush(math.MaxInt64, to) // responses both ways: one was none
	}
	if len(c.held) >= maxHeld || c.heldData+n > maxHeldData {
		c.flush(math.MaxInt64, to)
		c.force(&s, to)
		return
	}
	kept := append(append(make([]byte, 0, n), s.Data...), s.Tail...)
	s.Data, s.Tail = kept[:len(s.Data):len(s.Data)], kept[len(s.Data):]
	c.held = append(c.held, s)
	c.heldData += n
}

// replay takes held segments as soon as there is a request for them.
func (c *Conn) replay(to *Sink) {
	for len(c.held) > 0 && !c.opaque && (c.waiting() > 0 || c.unsure) {
		held := c.held
		c.held, c.heldData = nil, 0
		for i := range held {
			c.admit(&held[i], to)
		}
	}
	if c.opaque {
		c.held, c.heldData = nil, 0
	}
}

// flush takes held segments from before a time without their request.
func (c *Conn) flush(before int64, to *Sink) {
	for len(c.held) > 0 && c.held[0].Time < before {
		s := c.held[0]
		c.held = c.held[1:]
		c.heldData -= len(s.Data) + len(s.Tail)
		c.force(&s, to)
	}
	if len(c.held) == 0 {
		c.held = nil
	}
}

func (c *Conn) force(s *Segment, to *Sink) {
	c.forced = true
	c.take(s, to)
	c.forced = false
}
