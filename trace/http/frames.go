package http

import (
	"unsafe"

	"tracer/bpf"
	"tracer/trace/stream"
)

// frames takes what was kept of a call's frames, or of several calls': parts as
// bpf/include/h2.h has them. It reports whether they are what they should be.
func (cs *conns) frames(c *conn, call *bpf.HttpHttpCall, parts []byte) bool {
	if !c.framed {
		cs.turnToFrames(c)
	}
	own, ok := cs.others(c, parts)
	if !ok {
		return false
	}
	dir := call.Dir & 1
	if c.parser.Opaque() {
		return true
	}
	if call.Size > 0 && call.Offset >= c.next[dir] && !cs.own(c, call, own) {
		return false
	}
	cs.moved(c)
	if h := c.hint; c.parser.Opaque() && cs.session.Object != nil {
		h.Flags |= uint32(bpf.HttpHintUnframed)
		c.hint = h
		_ = cs.session.Map(bpf.HttpMapHints).Put(c.address, &c.hint) // else calls are told in vain
	}
	return true
}

// turnToFrames gives a connection to the parser of HTTP/2: from its beginning, from an
// upgrade on, or from where the programs have found that it speaks that.
func (cs *conns) turnToFrames(c *conn) {
	c.framed = true
	before := c.parser
	c.parser = cs.parsers[byFrames].Conn(c.Joined)
	c.next = c.base
	if u := before.Upgraded(); u != nil {
		c.parser.Adopt(u)
		for dir := range c.next {
			c.next[dir] = c.base[dir] + u.Next[dir]
		}
	} else {
		before.GiveUp()
	}
}

// own feeds the parts of a call's own direction.
func (cs *conns) own(c *conn, call *bpf.HttpHttpCall, parts []byte) bool {
	dir := call.Dir & 1
	at, end := call.Offset, call.Offset+uint64(call.Size)
	cs.runs = cs.runs[:0]
	for len(parts) > 0 {
		switch kind(parts) {
		case bpf.HttpH2PartH2Kept:
			var kept bpf.HttpH2Kept
			if !take(&parts, &kept) || uint64(kept.Size) > uint64(len(parts)) ||
				kept.Offset < at || kept.Offset+uint64(kept.Size) > end {
				return false
			}
			cs.feedFrames(c, call, at, kept.Offset, parts[:kept.Size])
			at = kept.Offset + uint64(kept.Size)
			parts = parts[min((int(kept.Size)+7)&^7, len(parts)):]
		case bpf.HttpH2PartH2Run:
			if !cs.run(&parts) {
				return false
			}
		default:
			return false
		}
	}
	if at < end || len(cs.runs) > 0 {
		cs.feedFrames(c, call, at, end, nil)
	}
	c.next[dir] = end
	c.ahead[dir] = c.ahead[dir][:0] // the kernel has told all that waited
	return true
}

// feedFrames feeds what was kept at offset, behind what was left out from at on.
func (cs *conns) feedFrames(c *conn, call *bpf.HttpHttpCall, at, offset uint64, data []byte) {
	dir := call.Dir & 1
	c.subtract(dir, cs.runs)
	cs.segment = stream.Segment{
		Dir:     stream.Direction(dir),
		Offset:  offset - c.base[dir],
		Size:    uint64(len(data)),
		Data:    data,
		Time:    int64(call.Time),
		Last:    int64(call.Last),
		Framed:  true,
		Skipped: offset - at,
		Runs:    cs.runs,
	}
	c.parser.Feed(&cs.segment)
	cs.runs = cs.runs[:0]
}

// others feeds DATA of either direction that the kernel has told with a record that is
// not of it, at the end of a stream or of the connection. It returns the parts before.
func (cs *conns) others(c *conn, parts []byte) (own []byte, ok bool) {
	rest := parts
	for len(rest) > 0 && kind(rest) != bpf.HttpH2PartH2Way {
		var kept bpf.HttpH2Kept
		switch kind(rest) {
		case bpf.HttpH2PartH2Kept:
			if !take(&rest, &kept) || uint64(kept.Size) > uint64(len(rest)) {
				return nil, false
			}
			rest = rest[min((int(kept.Size)+7)&^7, len(rest)):]
		case bpf.HttpH2PartH2Run:
			if !cs.run(&rest) {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	own = parts[:len(parts)-len(rest)]
	for len(rest) > 0 {
		var way bpf.HttpH2Way
		if !take(&rest, &way) || way.Part != uint32(bpf.HttpH2PartH2Way) {
			return nil, false
		}
		cs.runs = cs.runs[:0]
		for kind(rest) == bpf.HttpH2PartH2Run {
			if !cs.run(&rest) {
				return nil, false
			}
		}
		cs.feedAhead(c, &way)
	}
	return own, true
}

// feedAhead feeds DATA of a direction.
func (cs *conns) feedAhead(c *conn, way *bpf.HttpH2Way) {
	dir := bpf.HttpDirection(way.Dir & 1)
	if way.From < c.next[dir] || way.To < way.From || c.parser.Opaque() {
		return
	}
	told := append([]stream.Run(nil), cs.runs...)
	c.subtract(dir, cs.runs)
	seg := stream.Segment{
		Dir: stream.Direction(dir), Offset: way.To - c.base[dir],
		Framed: true, Skipped: way.To - way.From, Runs: cs.runs,
	}
	for _, r := range cs.runs {
		seg.Time, seg.Last = max(seg.Time, r.Last), max(seg.Last, r.Last)
	}
	cs.segment = seg
	c.parser.Feed(&cs.segment)
	c.next[dir], c.ahead[dir] = way.To, told
}

// subtract takes off what was told before of the same DATA.
func (c *conn) subtract(dir bpf.HttpDirection, runs []stream.Run) {
	for _, told := range c.ahead[dir] {
		for i := range runs {
			if r := &runs[i]; r.Stream == told.Stream && r.First == told.First {
				r.Frames -= min(r.Frames, told.Frames)
				r.Bytes -= min(r.Bytes, told.Bytes)
			}
		}
	}
}

// run takes a part that is DATA into cs.runs.
func (cs *conns) run(parts *[]byte) bool {
	var r bpf.HttpH2Run
	if !take(parts, &r) {
		return false
	}
	cs.runs = append(cs.runs, stream.Run{
		Stream: r.Stream, Frames: r.Frames, Bytes: r.Bytes, First: int64(r.First), Last: int64(r.Last), End: r.End != 0,
	})
	return true
}

// kind is that of the part which comes next.
func kind(parts []byte) bpf.HttpH2Part {
	if len(parts) < 4 {
		return 0
	}
	var k uint32
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&k)), 4), parts)
	return bpf.HttpH2Part(k)
}

// take copies a value from the front of b: there it may stand at any address.
func take[T any](b *[]byte, v *T) bool {
	size := int(unsafe.Sizeof(*v))
	if len(*b) < size {
		return false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(v)), size), *b)
	*b = (*b)[size:]
	return true
}
