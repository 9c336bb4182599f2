package http2

import (
	"slices"

	"tracer/trace/message"
)

// A talk is what is known of a stream: its request, its answer, or one of them.
type talk struct {
	id    uint32
	text  []byte        // method, target, host, grpc-message
	trace message.Trace // of the request
	// Where they end in text.
	methodEnd, targetEnd, hostEnd uint32

	asked     bool // its request was seen, else this is an orphan
	given     bool // an orphan: it was given up
	ended     bool // the request is whole
	connect   bool // its method is CONNECT, or may be
	truncated bool // the target
	stuck     bool // was reported so
	waits     bool // it is in talks.waits
	heard     bool // the head of the answer has come, seen or not
	maybe     bool // a head has come that may be that of the answer, or an interim one
	missed    bool // a head may have been missed
	over      bool // the answer is whole
	reset     bool // by RST_STREAM
	refused   bool // by GOAWAY
	grpc      bool // grpcStatus is known

	grpcStatus uint8
	answers    kind // what the answer's body is
	doubt      uint8
	by         Side // who has reset or refused it
	code       Code
	status     int

	request, response progress // last is 0 where there is nothing yet
	when              int64    // it was reset, or refused
}

// After a gap in the frames of requests or of answers a stream may be over.
const (
	doubtRequest uint8 = 1 << iota
	doubtResponse
)

func (t *talk) method() []byte  { return t.text[:t.methodEnd] }
func (t *talk) target() []byte  { return t.text[t.methodEnd:t.targetEnd] }
func (t *talk) host() []byte    { return t.text[t.targetEnd:t.hostEnd] }
func (t *talk) message() []byte { return t.text[t.hostEnd:] }

// tunnels reports whether both directions have to end (RFC 9113, 8.5).
func (t *talk) tunnels() bool { return t.connect && (t.status == 0 || t.status/100 == 2) }

// takeRequest keeps what matters of a request's head.
func (t *talk) takeRequest(h *head) {
	most := func(n name, limit int) []byte {
		if b := h.value(n); len(b) <= limit {
			return b
		}
		return nil
	}
	host := most(authority, maxHost)
	if !h.hasName(authority) && !h.partial { // RFC 9113, 8.3.1: of a request that was HTTP/1 before
		host = most(hostField, maxHost)
	}
	target := h.value(path)
	if len(target) > maxTarget {
		target, t.truncated = target[:maxTarget], true
	}
	t.text = append(t.text[:0], most(method, maxMethod)...)
	t.methodEnd = uint32(len(t.text))
	t.text = append(t.text, target...)
	t.targetEnd = uint32(len(t.text))
	t.text = append(t.text, host...)
	t.hostEnd = uint32(len(t.text))
	t.connect = string(t.method()) == "CONNECT"
	t.trace = h.trace()
}

// takeResponse takes a head of the answer: interim ones, the one that counts, trailers.
func (t *talk) takeResponse(h *head, p *progress, end bool, to *Sink) {
	t.response.bytes += p.bytes
	t.response.last = max(t.response.last, p.last)
	switch {
	case t.heard: // trailers
	case h.status >= 200:
		t.hear(h, p)
		t.status = h.status
	case h.status >= 100 && !end: // RFC 9110, 15.2: interim, not the answer
		return
	case end && (t.maybe || t.missed):
		// These are the trailers, or it is an answer without a body. If there is no
		// status in it, the head before was that of the answer.
		if h.partial {
			t.response.start = 0
		}
		t.heard = true
		if t.answers == kindUnknown {
			t.answers = h.kind()
			if t.answers != kindGRPC {
				t.answers = kindUnknown // trailers have no type
			}
		}
	case end:
		t.hear(h, p)
	default:
		t.hear(h, p)
		t.heard, t.maybe = false, true
	}
	t.response.inexact |= p.inexact
	if end {
		t.takeTrailers(h, to)
		t.over = true
	}
}

func (t *talk) hear(h *head, p *progress) {
	t.heard = true
	t.response.start = p.start
	t.answers = h.kind()
}

// takeTrailers takes what gRPC says in them: only of answers that are known to be its.
func (t *talk) takeTrailers(h *head, to *Sink) {
	if t.answers != kindGRPC {
		return
	}
	if t.grpcStatus, t.grpc = h.grpcStatus(); !t.grpc {
		return
	}
	if b := h.value(grpcMessage); len(b) <= maxMessage {
		t.text = appendPercent(t.text[:t.hostEnd], b)
	}
}

// takeData takes bytes of DATA of the answer.
func (t *talk) takeData(end bool) {
	t.heard = true // if it was seen or not: DATA follows it
	t.over = t.over || end
}

// talks are the streams of a connection.
type talks struct {
	requests Direction // which way they go
	known    bool      // requests is set
	joined   bool      // the connection is older than what was seen of it

	list    []*talk // by id
	text    int     // bytes of it in list
	waits   int     // requests in list that wait for their answer
	stuck   int     // of them, those that were reported so
	orphans int     // answers in list that wait for their request
	late    bool    // there may be some that came before their request

	// Of streams that the client begins, and those that the server does, by id&1:
	first, last [2]uint32 // of those whose request was seen
	holes       [2]hole   // and of those in between that were missed
	refused     [2]uint32 // those above are not processed (RFC 9113, 6.8)
	closing     [2]bool   // refused is set

	done   [recent]uint32 // streams that were over while frames of them were on the way
	doneAt int
}

// A hole is a range of streams; some of them were not seen.
type hole struct{ after, before uint32 }

func (c *talks) role() Role {
	if c.requests == Received {
		return Server
	}
	return Client
}

// most is up to where streams may be expected.
func (c *talks) most() uint32 {
	if last := max(c.last[0], c.last[1]); last > 0 && last < streamMask-maxSkipped {
		return last + maxSkipped
	}
	return streamMask
}

func (c *talks) find(id uint32) *talk {
	if i, ok := c.search(id); ok {
		return c.list[i]
	}
	return nil
}

func (c *talks) search(id uint32) (int, bool) {
	if n := len(c.list); n == 0 || c.list[n-1].id < id {
		return n, false
	} else if c.list[n-1].id == id {
		return n - 1, true
	}
	return slices.BinarySearchFunc(c.list, id, func(t *talk, id uint32) int {
		return int(int64(t.id) - int64(id))
	})
}

func (c *talks) insert(id uint32, to *Sink) *talk {
	t := to.get()
	t.id = id
	i, _ := c.search(id)
	c.list = slices.Insert(c.list, i, t)
	return t
}

func (c *talks) remove(t *talk, to *Sink) {
	i, _ := c.search(t.id)
	c.list = slices.Delete(c.list, i, i+1)
	c.text -= len(t.text)
	if !t.asked && !t.given {
		c.orphans--
	}
	c.count(t, false)
	if !t.over || !t.ended {
		c.forget(t.id)
	}
	if len(c.list) == 0 && cap(c.list) > maxIdle {
		c.list = nil
	}
	to.put(t)
}

// forget takes note that a stream is over, of which there may still be frames.
func (c *talks) forget(id uint32) {
	c.done[c.doneAt%recent] = id
	c.doneAt++
}

// open makes room for a request, whose streams that come before were missed if some
// may have been. It returns nil if there is none, or if the stream has been given up:
// that is counted.
func (c *talks) open(id uint32, h *head, p *progress, missing bool, to *Sink) *talk {
	side := id & 1
	if missing && (c.last[side] != 0 || !c.joined) {
		if c.holes[side].before == 0 {
			c.holes[side].after = c.last[side]
		}
		c.holes[side].before = id
	}
	if c.first[side] == 0 {
		c.first[side] = id
	}
	c.last[side] = id
	if c.late {
		c.late = false
		for i := 0; i < len(c.list); {
			t := c.list[i]
			switch {
			case t.asked || t.id&1 != side || t.id == id:
			case t.id > id:
				c.late = true
			case c.unmatched(t, to): // its request will not come
				continue
			}
			i++
		}
	}
	t := c.find(id)
	switch {
	case t != nil && t.given:
		c.remove(t, to)
		return nil
	case t != nil:
		c.orphans--
	default:
		if c.full() {
			c.makeRoom(to)
		}
		if c.full() {
			to.Overflow++
			var t talk
			t.id, t.asked, t.request = id, true, *p
			t.takeRequest(h)
			c.tell(to.GaveUp, &t, Complete, 0, to)
			return nil
		}
		t = c.insert(id, to)
	}
	t.asked = true
	c.text -= len(t.text)
	to.text = append(to.text[:0], t.message()...) // of an answer that was told first
	t.takeRequest(h)
	t.text = append(t.text, to.text...)
	c.text += len(t.text)
	return t
}

func (c *talks) full() bool { return len(c.list) >= maxStreams || c.text >= maxText }

// makeRoom gives up the oldest stream that is in doubt, or answer without a request.
func (c *talks) makeRoom(to *Sink) {
	for _, t := range c.list {
		if t.asked && t.doubt != 0 {
			c.giveUp(t, to)
			return
		}
	}
	c.dropOrphan(to)
}

// dropOrphan gives up the oldest answer without a request.
func (c *talks) dropOrphan(to *Sink) {
	for _, t := range c.list {
		if !t.asked {
			if !c.unmatched(t, to) {
				c.remove(t, to)
			}
			return
		}
	}
}

// orphan returns a stream for an answer whose request was not seen: not yet, or not at
// all if some may have been missed. It is nil for what is over.
func (c *talks) orphan(id uint32, missing bool, to *Sink) *talk {
	side := id & 1
	hole := c.holes[side]
	unseen := id > c.last[side] && (side == 1 || missing) || id > hole.after && id < hole.before
	if !unseen || slices.Contains(c.done[:], id) {
		return nil
	}
	if len(c.list) >= maxOrphans {
		n := 0
		for _, t := range c.list {
			if !t.asked {
				n++
			}
		}
		if n >= maxOrphans {
			c.dropOrphan(to)
		} else if len(c.list) >= maxStreams {
			c.makeRoom(to)
		}
	}
	if len(c.list) >= maxStreams { // what is open already is worth more
		if id <= c.last[side] { // else its request will be counted
			to.Unmatched++
			c.tell(to.GaveUp, &talk{id: id}, Complete, 0, to)
			c.forget(id)
		}
		return nil
	}
	c.orphans++
	c.late = true
	return c.insert(id, to)
}

// awaits reports whether the request of an orphan may still be told. Those of one side
// come in the order of their ids, and a promise comes before its answer.
func (c *talks) awaits(t *talk) bool { return t.id&1 == 1 && t.id > c.last[1] }

// unmatched gives up an orphan, and reports whether it was removed. It stays until it
// ends and its request cannot come any more, so that it is counted once.
func (c *talks) unmatched(t *talk, to *Sink) (removed bool) {
	if !t.given {
		t.given = true
		c.orphans--
		first := c.first[t.id&1]
		if !c.joined || first != 0 && t.id > first { // else it is older than what was seen
			to.Unmatched++
			c.tell(to.GaveUp, t, Complete, 0, to)
		}
	}
	if (t.over || t.reset) && !c.awaits(t) {
		c.remove(t, to)
		return true
	}
	return false
}

// changed is called where something has come of a stream. It tells if it is over.
func (c *talks) changed(t *talk, to *Sink) {
	switch {
	case !t.asked && c.awaits(t):
	case !t.asked:
		c.unmatched(t, to)
		return
	case t.over && (t.ended || !t.tunnels()):
		c.finish(t, Complete, 0, to)
		return
	case t.reset && t.over: // RFC 9113, 8.1: there was nothing more to be sent
		c.finish(t, Complete, 0, to)
		return
	case t.reset && t.doubt&doubtResponse != 0, t.refused && t.doubt&doubtRequest != 0:
		c.giveUp(t, to) // its answer may have been whole, or the request was reset before
		return
	case t.reset:
		c.finish(t, Reset, t.when, to)
		return
	case t.refused:
		c.finish(t, Closed, t.when, to)
		return
	}
	c.track(t)
}

// track counts a stream if its request waits for an answer.
func (c *talks) track(t *talk) {
	c.count(t, t.asked && t.ended && !t.heard && !t.maybe && t.doubt == 0)
}

func (c *talks) count(t *talk, waits bool) {
	if waits == t.waits {
		return
	}
	t.waits = waits
	n := 1
	if !waits {
		n = -1
	}
	c.waits += n
	if t.stuck {
		c.stuck += n
	}
}

// finish tells of a stream that is over.
func (c *talks) finish(t *talk, ending Ending, end int64, to *Sink) {
	c.tell(to.Exchange, t, ending, end, to)
	c.remove(t, to)
}

// giveUp gives up a stream that may be over.
func (c *talks) giveUp(t *talk, to *Sink) {
	to.Lost++
	c.tell(to.GaveUp, t, Complete, 0, to)
	c.remove(t, to)
}

// lose is called where frames of a direction may be missed while the stream is open.
func (t *talk) lose(requests bool) {
	switch {
	case requests:
		t.doubt |= doubtRequest
		if !t.ended {
			t.request.inexact |= InexactRequest
		}
	case !t.over:
		t.doubt |= doubtResponse
		t.response.inexact |= InexactResponse
		if !t.heard {
			t.missed, t.maybe, t.answers, t.response.start = true, false, kindUnknown, 0
		}
	}
}

// lose is called where frames of a direction were missed, of requests or not.
func (c *talks) lose(requests bool) {
	for _, t := range c.list {
		t.lose(requests)
		c.track(t)
	}
}

// refuse takes a GOAWAY of one side: which streams of the other are not processed.
func (c *talks) refuse(server bool, last uint32, when int64, to *Sink) {
	side := uint32(0)
	if server {
		side = 1
	}
	c.closing[side], c.refused[side] = true, last
	for i := len(c.list) - 1; i >= 0 && c.list[i].id > last; i-- {
		if t := c.list[i]; t.id&1 == side && t.asked && !t.over {
			c.refuseOne(t, when)
			c.changed(t, to)
		}
	}
}

func (c *talks) refuseOne(t *talk, when int64) {
	t.refused, t.when, t.by = true, when, Server.Side()
	if t.id&1 == 0 {
		t.by = Client.Side()
	}
}

// tell reports a stream, without an answer with the end of that.
func (c *talks) tell(report func(*Exchange), t *talk, ending Ending, end int64, to *Sink) {
	if report == nil {
		return
	}
	x := &to.x
	*x = Exchange{
		Role:            c.role(),
		Method:          t.method(),
		Target:          t.target(),
		Trace:           t.trace,
		Ending:          ending,
		Status:          t.status,
		Stream:          t.id,
		TargetTruncated: t.truncated,
		Inexact:         t.request.inexact | t.response.inexact,
		RequestStart:    t.request.start,
		RequestEnd:      t.request.last,
		ResponseStart:   t.response.start,
		ResponseEnd:     end,
		RequestOffset:   t.request.offset,
		RequestBytes:    t.request.bytes,
		ResponseBytes:   t.response.bytes,
	}
	if !t.heard { // what has come may have been interim
		x.ResponseStart = 0
	}
	if t.hostEnd > t.targetEnd {
		x.Host = t.host()
	}
	if !t.ended {
		x.Inexact |= InexactRequest
	}
	if ending != Complete {
		x.ClosedBy, x.WasReset, x.Code = t.by, t.reset, t.code
	}
	if t.over {
		x.ResponseEnd = t.response.last
		if t.tunnels() {
			x.ResponseEnd = max(x.ResponseEnd, t.request.last)
		}
		if !t.ended && (t.methodEnd == 0 || t.tunnels()) {
			x.Inexact |= InexactResponse // a tunnel goes on, or what may be one
		}
	}
	if t.grpc {
		x.GRPC, x.GRPCStatus, x.GRPCMessage = true, t.grpcStatus, t.message()
	}
	report(x)
}

// A Sink is where connections put what they find. Any number of connections may share
// one, as long as they are used by one goroutine.
type Sink struct {
	Exchange func(*Exchange) // an exchange is over
	Stuck    func(*Exchange) // see Conn.Stuck
	GaveUp   func(*Exchange) // see message.Calls; may be nil

	Counts

	x     Exchange // reused, so that none is allocated
	head  head
	text  []byte // a grpc-message, decoded
	spare []*talk
}

// get lends a stream; put takes it back.
func (to *Sink) get() *talk {
	n := len(to.spare) - 1
	if n < 0 {
		return &talk{}
	}
	t := to.spare[n]
	to.spare = to.spare[:n]
	return t
}

func (to *Sink) put(t *talk) {
	if len(to.spare) < maxSpare && cap(t.text) <= maxSpareBytes {
		*t = talk{text: t.text[:0]}
		to.spare = append(to.spare, t)
	}
}
