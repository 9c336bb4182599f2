package http2

import (
	"encoding/binary"

	"tracer/trace/message"
)

// A Conn follows one connection. The zero value is a connection that is seen from its
// first byte once Reset was called. It is not safe for concurrent use and always takes
// the same Sink.
type Conn struct {
	talks
	flows  [2]flow
	kind   Kind
	opaque bool // nothing more is to be read
}

// Reset makes c ready for another connection, joined if bytes moved on it before it was
// seen.
func (c *Conn) Reset(joined bool) {
	*c = Conn{}
	c.joined = joined
	for dir := range c.flows {
		d := &c.flows[dir]
		d.state, d.first = atPreface, true
		if joined {
			d.state, d.first, d.missing = lost, false, true
			d.table.allow(maxTable)
		}
	}
}

// Adopt begins with a request of HTTP/1 that was answered with 101: it is stream 1 (RFC
// 7540, 3.2).
func (c *Conn) Adopt(u *message.Upgrade, to *Sink) {
	c.known, c.requests = true, Sent
	if u.Request.Role == Server {
		c.requests = Received
	}
	for dir := range c.flows {
		c.flows[dir].next = u.Next[dir]
	}
	c.flows[c.requests^1].state = atFrame
	c.kind = HTTP2
	x := &u.Request
	h := &to.head
	*h = head{text: h.text[:0]}
	for _, f := range []struct {
		name  name
		value []byte
	}{{method, x.Method}, {path, x.Target}, {authority, x.Host}} {
		at := len(h.text)
		h.text = append(h.text, f.value...)
		h.has |= 1 << f.name
		h.values[f.name] = span{uint32(at), uint32(len(h.text))}
	}
	p := progress{start: x.RequestStart, last: x.RequestEnd, offset: x.RequestOffset, bytes: x.RequestBytes, inexact: x.Inexact}
	if t := c.open(1, h, &p, false, to); t != nil {
		t.trace = x.Trace
		t.request, t.truncated, t.ended = p, t.truncated || x.TargetTruncated, true
		c.changed(t, to)
	}
}

// Kind returns what the connection speaks, as far as it is known.
func (c *Conn) Kind() Kind { return c.kind }

// Opaque reports that no exchange will be found any more.
func (c *Conn) Opaque() bool { return c.opaque }

// Waiting is how many requests are whole and have no answer, those in doubt left out.
func (c *Conn) Waiting() int { return c.waits }

// Busy reports whether the exchange of a stream is under way.
func (c *Conn) Busy(stream uint32) bool { return c.find(stream) != nil }

// Holds reports whether an answer waits for its request to be told.
func (c *Conn) Holds() bool { return c.orphans > 0 }

// Settle gives up waiting for such requests, if the answer moved before a time.
func (c *Conn) Settle(before int64, to *Sink) {
	for i := 0; i < len(c.list) && c.orphans > 0; {
		if t := c.list[i]; t.asked || t.given || t.response.last > before || !c.unmatched(t, to) {
			i++
		}
	}
}

// Waits reports whether the request of a stream is whole and has no answer.
func (c *Conn) Waits(stream uint32) bool {
	t := c.find(stream)
	return t != nil && t.waits
}

// Oldest returns when the request ended that has waited longest for its answer and
// that Stuck has not reported yet.
func (c *Conn) Oldest() (since int64, ok bool) {
	if c.waits == c.stuck {
		return 0, false
	}
	for _, t := range c.list {
		if t.waits && !t.stuck && (!ok || t.request.last < since) {
			since, ok = t.request.last, true
		}
	}
	return since, ok
}

// Stuck reports, once each, the requests that ended at or before a time and that no
// answer has begun to come for. Their exchanges are reported as ever when they are
// over.
func (c *Conn) Stuck(before int64, to *Sink) {
	if c.waits == c.stuck {
		return
	}
	for _, t := range c.list {
		if t.waits && !t.stuck && t.request.last <= before {
			t.stuck = true
			c.stuck++
			c.tell(to.Stuck, t, Complete, 0, to)
		}
	}
}

// GiveUp gives up what may be over.
func (c *Conn) GiveUp(to *Sink) {
	for i := len(c.list) - 1; i >= 0; i-- {
		switch t := c.list[i]; {
		case !t.asked:
			c.unmatched(t, to)
		case t.doubt != 0 && !t.over:
			c.giveUp(t, to)
		}
	}
}

// Close ends the connection: what has no answer or half of one is told with the reason,
// unless it may be over. Where the number of bytes is known that moved each way, feed
// segments of Size 0 with that Offset first. The Conn is opaque afterwards and holds no
// memory.
func (c *Conn) Close(now int64, why Ending, to *Sink) {
	if why == Complete {
		why = Closed
	}
	for len(c.list) > 0 {
		switch t := c.list[0]; {
		case !t.asked:
			if !c.unmatched(t, to) {
				c.remove(t, to)
			}
		case t.over:
			c.finish(t, Complete, 0, to)
		case t.doubt != 0:
			c.giveUp(t, to)
		default:
			c.finish(t, why, now, to)
		}
	}
	kind := c.kind
	*c = Conn{kind: kind, opaque: true}
}

// heads takes what a header block says.
func (c *Conn) heads(d *flow, h *head, p *progress, end bool, to *Sink) {
	promise := d.opener.kind == framePromise
	switch {
	case c.known:
	case h.asks() && !promise:
		c.learn(d)
	case h.answers() || promise:
		c.learn(c.other(d))
	default:
		return // which way requests go is not known
	}
	id := d.opener.stream
	switch {
	case promise:
		if d != c.asking() && d.promised&1 == 0 && d.promised != 0 {
			c.promise(d, d.promised, h, p, to)
		}
	case d == c.asking():
		if id&1 == 1 {
			c.request(d, id, h, p, end, to)
		}
	default:
		t := c.answer(d, id, to)
		if t == nil {
			return
		}
		c.text -= len(t.text)
		t.takeResponse(h, p, end, to)
		c.text += len(t.text)
		c.changed(t, to)
	}
}

// learn takes note of which way requests go.
func (c *Conn) learn(requests *flow) {
	c.known, c.requests, c.kind = true, c.direction(requests), HTTP2
}

func (c *Conn) direction(d *flow) Direction {
	if d == &c.flows[Sent] {
		return Sent
	}
	return Received
}

func (c *Conn) other(d *flow) *flow { return &c.flows[c.direction(d)^1] }

// asking is the direction of requests, nil if that is not known.
func (c *Conn) asking() *flow {
	if !c.known {
		return nil
	}
	return &c.flows[c.requests]
}

// request takes a head in the direction of requests: a request, or its trailers.
func (c *Conn) request(d *flow, id uint32, h *head, p *progress, end bool, to *Sink) {
	t := c.find(id)
	switch {
	case t != nil && t.asked:
		t.doubt &^= doubtRequest
		t.request.bytes += p.bytes
		t.request.last = p.last
		t.request.inexact |= p.inexact
	case id <= c.last[1]:
		return // it is over
	case d.missing && !h.asks():
		return // trailers, maybe, of a request that was missed
	default:
		t = c.open(id, h, p, d.missing, to)
		if d.missing = false; t == nil {
			return
		}
		t.request = *p
		c.begun(t, d)
	}
	t.ended = t.ended || end
	c.changed(t, to)
}

// promise takes a PUSH_PROMISE: a request that the client did not send.
func (c *Conn) promise(d *flow, id uint32, h *head, p *progress, to *Sink) {
	if id <= c.last[0] {
		return
	}
	t := c.open(id, h, p, d.missing, to)
	d.missing = false
	if t == nil {
		return
	}
	t.request, t.ended = *p, true
	c.begun(t, d)
	c.changed(t, to)
}

// begun says of a new stream what is known of it before anything comes of it.
func (c *Conn) begun(t *talk, d *flow) {
	if side := t.id & 1; c.closing[side] && t.id > c.refused[side] {
		c.refuseOne(t, t.request.last)
	}
	if other := c.other(d); other.blind {
		t.lose(other == c.asking())
	}
}

// answer returns the stream that something of an answer has come for, nil if that does
// not matter any more.
func (c *Conn) answer(d *flow, id uint32, to *Sink) *talk {
	t := c.find(id)
	if t == nil {
		missing := d.missing
		if id&1 == 1 {
			missing = c.asking().missing
		}
		return c.orphan(id, missing, to)
	}
	t.doubt &^= doubtResponse
	return t
}

// data takes bytes of DATA frames.
func (c *Conn) data(d *flow, id uint32, n uint64, last int64, inexact Inexact, end bool, to *Sink) {
	switch {
	case !c.known:
		return
	case d == c.asking():
		t := c.find(id)
		if t == nil || !t.asked {
			return
		}
		t.doubt &^= doubtRequest
		t.request.bytes += n
		t.request.last = max(t.request.last, last)
		t.request.inexact |= inexact
		t.ended = t.ended || end
		c.changed(t, to)
	default:
		t := c.answer(d, id, to)
		if t == nil {
			return
		}
		t.response.bytes += n
		t.response.last = max(t.response.last, last)
		t.response.inexact |= inexact
		t.takeData(end)
		c.changed(t, to)
	}
}

// resets takes a RST_STREAM.
func (c *Conn) resets(d *flow, id uint32, code Code, now int64, to *Sink) {
	if !c.known {
		return
	}
	var t *talk
	by := Client.Side()
	if d == c.asking() {
		t = c.find(id)
	} else {
		by = Server.Side()
		doubt := uint8(0)
		if t = c.find(id); t != nil {
			doubt = t.doubt
		}
		if t = c.answer(d, id, to); t != nil {
			t.doubt = doubt // this is no sign that its answer was not whole before
		}
	}
	if t == nil {
		return
	}
	t.reset, t.code, t.by, t.when = true, code, by, now
	if !t.asked {
		t.response.last = now
	}
	c.changed(t, to)
}

// goAway takes a GOAWAY.
func (c *Conn) goAway(d *flow, payload []byte, now int64, to *Sink) {
	if c.known {
		c.refuse(d != c.asking(), binary.BigEndian.Uint32(payload)&streamMask, now, to)
	}
}

// settings takes SETTINGS: how large the table of the other direction may be.
func (c *Conn) settings(d *flow, payload []byte) {
	for ; len(payload) >= 6; payload = payload[6:] {
		if binary.BigEndian.Uint16(payload) == settingTableSize {
			c.other(d).table.allow(binary.BigEndian.Uint32(payload[2:]))
		}
	}
}

// gap is called where bytes of a direction were missed: frames that were whole in them
// are not known.
func (c *Conn) gap(d *flow) {
	d.drop()
	d.table.forget()
	d.missing, d.first, d.blind = true, false, d.state == lost
	c.other(d).table.allow(maxTable) // SETTINGS may be among them
	if c.known {
		c.lose(d == c.asking())
	}
}
