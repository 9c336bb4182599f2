package http2

import "encoding/binary"

// Feed takes the next segment. Those of one direction come in order of Offset; what
// lies before the place that was reached is passed over.
func (c *Conn) Feed(s *Segment, to *Sink) {
	if c.opaque {
		return
	}
	d := &c.flows[s.Dir&1]
	start := s.Offset - min(s.Skipped, s.Offset)
	if start > d.next {
		c.miss(d, start-d.next, s, to)
	}
	if s.Framed && d.state == lost && d.next == start && !d.wrong {
		d.state, d.blind = atFrame, false // the source has found it
	}
	if s.Skipped > 0 {
		c.skip(d, s, to)
	}
	data := s.Data
	if uint64(len(data)) > s.Size {
		data = data[:s.Size]
	}
	rest := s.Size - uint64(len(data))
	begins := true
	if s.Offset < d.next {
		n := d.next - s.Offset
		if n >= s.Size {
			return
		}
		begins = false
		if n >= uint64(len(data)) {
			rest -= n - uint64(len(data))
			data = nil
		} else {
			data = data[n:]
		}
	}
	c.run(d, s, data, begins, rest > 0, to)
	if rest > 0 && !c.opaque {
		c.miss(d, rest, s, to)
		d.wrong = true // where it ends, need not be where a frame does
	}
}

// miss passes over bytes that nobody told, or that were not captured.
func (c *Conn) miss(d *flow, n uint64, s *Segment, to *Sink) {
	d.next += n
	if d.state == inPayload && !d.frame.kept() && n <= uint64(d.left) && !s.Framed {
		c.pass(d, uint32(n), s, InexactTime, to) // it is known what they were
		return
	}
	d.state, d.wrong = lost, false
	c.gap(d)
}

// skip passes over what the source has left out.
func (c *Conn) skip(d *flow, s *Segment, to *Sink) {
	if s.Offset <= d.next {
		return // it is known already
	}
	if d.state == inPayload || d.had > 0 || d.state == atPreface {
		c.misplace(d, to) // a frame began there that is not left out
	}
	d.next = s.Offset
	if d.state == lost {
		return
	}
	for i := range s.Runs {
		r := &s.Runs[i]
		c.data(d, r.Stream, r.Bytes, r.Last, 0, r.End, to)
	}
}

// misplace is called where what is read cannot be frames.
func (c *Conn) misplace(d *flow, to *Sink) {
	to.Resyncs++
	d.state, d.wrong = lost, true
	c.gap(d)
}

// run moves captured bytes, from a segment's start or not and with more of it to follow
// or not.
func (c *Conn) run(d *flow, s *Segment, b []byte, begins, more bool, to *Sink) {
	if d.state == lost {
		if !begins || !chain(b, c.most()) {
			d.next += uint64(len(b))
			if !d.blind && len(b) > 0 {
				c.gap(d)
			}
			return
		}
		d.state, d.wrong, d.blind = atFrame, false, false
	}
	for len(b) > 0 && !c.opaque {
		n := 0
		switch d.state {
		case lost:
			n = len(b)
		case atPreface:
			n = c.preface(d, b)
		case atFrame:
			n = c.begin(d, s, b, begins, more, to)
		case inPayload:
			n = min(len(b), int(d.left))
			last := s.Time != s.Last && (more || n < len(b))
			c.payload(d, s, b[:n], last, to)
		}
		d.next += uint64(n)
		b, begins = b[n:], false
	}
}

// preface reads that of the client (RFC 9113, 3.4). It tells which way requests go.
func (c *Conn) preface(d *flow, b []byte) int {
	n := min(len(b), len(preface)-d.had)
	other := c.other(d)
	switch {
	case string(b[:n]) == preface[d.had:d.had+n] && (!c.known || d == c.asking()):
		if d.had += n; d.had < len(preface) {
			return n
		}
		d.had, d.state = 0, atFrame
		c.learn(d)
		if other.state == atPreface {
			other.state = atFrame
		}
		return n
	case d.had == 0 && (other.state == atPreface || other.state == lost || c.known && d != c.asking()): // the server's side
		d.state = atFrame
		return 0
	}
	c.foreign()
	return len(b)
}

// foreign is called where a connection is seen not to speak HTTP/2.
func (c *Conn) foreign() {
	if c.kind == Unknown {
		c.kind = Other
	}
	c.opaque = true
}

// begin reads the head of a frame and, if it is all there, the frame. It returns how
// many bytes it took.
func (c *Conn) begin(d *flow, s *Segment, b []byte, begins, more bool, to *Sink) int {
	if d.had == 0 {
		d.begun = progress{start: s.Time, offset: d.next}
		if s.Time != s.Last && !begins {
			d.begun.inexact = InexactTime
		}
	}
	n := copy(d.bytes[d.had:], b)
	if d.had += n; d.had < frameHead {
		return n
	}
	d.had = 0
	f := readFrame(d.bytes[:])
	d.frame, d.left = f, f.length
	switch {
	case d.first && f.kind != frameSettings:
		c.foreign()
		return n
	case !f.fits(), d.open && (f.kind != frameContinuation || f.stream != d.opener.stream):
		c.misplace(d, to)
		return n
	}
	d.first = false
	last := s.Time != s.Last && (more || n < len(b))
	switch f.kind {
	case frameHeaders, framePromise:
		d.open, d.over, d.opener, d.block = true, false, f, d.begun
		d.buf, d.mark = d.buf[:0], 0
	case frameData:
		c.data(d, f.stream, frameHead, s.Last, d.begun.inexact, false, to)
	}
	if d.open {
		d.block.bytes += frameHead + uint64(f.length)
	}
	d.state = inPayload
	if f.length == 0 {
		c.payload(d, s, nil, last, to)
	}
	return n
}

// payload takes some of a frame's payload, all that is left or less.
func (c *Conn) payload(d *flow, s *Segment, b []byte, inner bool, to *Sink) {
	f := &d.frame
	if !f.kept() {
		inexact := Inexact(0)
		if inner {
			inexact = InexactTime
		}
		c.pass(d, uint32(len(b)), s, inexact, to)
		return
	}
	d.left -= uint32(len(b))
	if d.left > 0 || len(d.buf) > d.mark || d.over {
		c.keep(d, b)
		if d.left > 0 {
			return
		}
		b = d.buf[d.mark:]
	}
	d.state = atFrame
	switch f.kind {
	case frameHeaders, framePromise, frameContinuation:
		d.block.last = s.Last
		if inner {
			d.block.inexact |= InexactTime
		}
		c.fragment(d, b, to)
		return
	case frameReset:
		c.resets(d, f.stream, Code(binary.BigEndian.Uint32(b)), s.Last, to)
	case frameGoAway:
		c.goAway(d, b, s.Last, to)
	case frameSettings:
		c.settings(d, b)
	}
	d.buf, d.over = d.buf[:0], false
}

// pass moves over bytes of a payload that is not read.
func (c *Conn) pass(d *flow, n uint32, s *Segment, inexact Inexact, to *Sink) {
	d.left -= n
	if d.left == 0 {
		d.state = atFrame
	}
	if d.frame.kind == frameData {
		end := d.left == 0 && d.frame.has(flagEndStream)
		c.data(d, d.frame.stream, uint64(n), s.Last, inexact, end, to)
	}
}

// keep copies some of a payload until it is whole, as far as there is room.
func (c *Conn) keep(d *flow, b []byte) {
	if n := maxBlock - len(d.buf); len(b) > n {
		d.over = true
		b = b[:n]
	}
	d.buf = append(d.buf, b...)
}

// fragment takes the payload of a frame of a header block.
func (c *Conn) fragment(d *flow, b []byte, to *Sink) {
	if !d.open { // the rest of a block whose beginning was missed
		d.table.forget()
		d.buf = d.buf[:0]
		return
	}
	if d.frame.kind != frameContinuation {
		ok := false
		if b, d.promised, ok = d.opener.fragment(b); !ok && !d.over {
			c.misplace(d, to)
			return
		}
	}
	if d.mark > 0 || !d.frame.has(flagEndHeaders) {
		d.buf = d.buf[:d.mark]
		c.keep(d, b)
		b, d.mark = d.buf, len(d.buf)
	}
	if d.frame.has(flagEndHeaders) {
		c.block(d, b, to)
	}
}

// block reads a header block that is whole.
func (c *Conn) block(d *flow, b []byte, to *Sink) {
	h := &to.head
	switch {
	case d.over:
		to.Oversize++
		d.table.forget()
		h.clear()
	case !h.read(&d.table, b):
		to.Resyncs++
		h.clear()
	case h.partial:
		to.Unknown++
	}
	end := d.opener.kind == frameHeaders && d.opener.has(flagEndStream)
	p := d.block
	d.drop()
	c.heads(d, h, &p, end, to)
}
