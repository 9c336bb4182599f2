package http

import (
	"unsafe"

	"tracer/bpf"
	"tracer/trace/message"
	"tracer/trace/stream"
)

// Decode takes a record: the calls that it tells of go to their connection.
func (t *tracer) Decode(record []byte) bool {
	const head = int(unsafe.Sizeof(bpf.HttpHttpRecord{}))
	if len(record) < head {
		return false
	}
	r := (*bpf.HttpHttpRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	data := record[head:]
	if int(r.Call.Len)+int(r.Kept.Len) > len(data) || tailLen(&r.Call) > 8 || tailLen(&r.Kept) > 8 {
		return false
	}
	kept := data[r.Call.Len:]
	parts := kept[r.Kept.Len:]
	spent, sum := bpf.HttpHttpSpent{}, &t.summed
	*sum = bpf.HttpHttpCall{}
	var intro *bpf.HttpHttpIntro
	if r.Parts&uint8(bpf.HttpPartWithSpent) != 0 && !take(&parts, &spent) {
		return false
	}
	if r.Parts&uint8(bpf.HttpPartWithSum) != 0 && !take(&parts, sum) || tailLen(sum) > 8 || sum.Len > 0 {
		return false
	}
	if r.Parts&uint8(bpf.HttpPartWithIntro) != 0 {
		intro = new(bpf.HttpHttpIntro)
		if !take(&parts, intro) {
			return false
		}
	}
	t.conns.advance(r.Time)
	if r.Type > bpf.HttpEventSocketClosed {
		return t.decodeTLS(r, data[:r.Call.Len], intro)
	}
	c := t.conns.open(r.Socket, r.Seen, intro)
	if c == nil {
		return false
	}
	if !c.based {
		c.start(r, sum)
	}
	c.requests = r.Requests & 1
	c.miss(uint64(r.Lost))
	c.heard = r.Time
	t.conns.current = c
	framed := r.Parts&uint8(bpf.HttpPartWithFrames) != 0
	if spent.Read != 0 {
		c.spent.note(spentOf(&spent, &r.Call), framed)
	}
	if framed && !t.conns.frames(c, &r.Call, data[:r.Call.Len]) {
		return false
	}
	before := sum.Size > 0 && (sum.Dir != c.requests || sum.Offset < r.Kept.Offset)
	if before {
		t.conns.feed(c, sum, nil)
	}
	t.conns.feed(c, &r.Kept, kept)
	if sum.Size > 0 && !before {
		t.conns.feed(c, sum, nil)
	}
	switch r.Type {
	case bpf.HttpEventDataMoved:
		if framed {
			break
		}
		t.conns.feed(c, &r.Call, data)
	case bpf.HttpEventSocketClosed:
		ending, by := endingOf(r)
		if ending == bpf.HttpEndingUnseen {
			t.conns.vanish(c)
			break
		}
		for dir, n := range r.Bytes {
			c.parser.Feed(&stream.Segment{Dir: stream.Direction(dir), Offset: max(n, c.base[dir]) - c.base[dir]})
		}
		c.closedBy = by
		t.conns.close(c, r.Time, stream.Ending(ending))
	default:
		return false
	}
	t.settle()
	return true
}

// decodeTLS takes a record of TLS that is no call on a socket.
func (t *tracer) decodeTLS(r *bpf.HttpHttpRecord, data []byte, intro *bpf.HttpHttpIntro) bool {
	about := (*bpf.HttpTlsAbout)(unsafe.Pointer(&r.Kept))
	o := object{about.Object, about.Since, about.Pid}
	switch r.Type {
	case bpf.HttpEventPlainUnlinked:
		t.unlinked.hold(o, &r.Call, data)
	case bpf.HttpEventTlsLinked:
		t.link(r, t.unlinked.take(o))
	case bpf.HttpEventBioNeeded:
		if t.tls != nil {
			t.tls.Need(about.Pid)
		}
	case bpf.HttpEventClientHello:
		if intro == nil {
			return false
		}
		if t.tls != nil {
			t.tls.Saw(intro.Owner.Pid)
		}
		t.dark.hello(t.conns, data, intro)
	case bpf.HttpEventPlainSeen:
		if intro == nil {
			return false
		}
		t.dark.lit(&intro.Socket)
	default:
		return false
	}
	return true
}

// link feeds a connection what was told before it was known that it is its.
func (t *tracer) link(r *bpf.HttpHttpRecord, calls []heldCall) {
	c := t.conns.open(r.Socket, r.Seen, nil)
	if c == nil {
		t.unlinked.drop(calls) // it is over
		return
	}
	c.heard, c.based = r.Time, true
	for i := range calls {
		if asks, answers := beginnings(calls[i].data); asks != answers {
			c.requests = calls[i].call.Dir & 1
			if answers {
				c.requests = 1 - c.requests
			}
			break
		}
	}
	for i := range calls {
		t.conns.current = c
		t.conns.feed(c, &calls[i].call, calls[i].data)
	}
	t.settle()
}

// endingOf is how a connection has ended, and which end did that.
func endingOf(r *bpf.HttpHttpRecord) (bpf.HttpEnding, message.Side) {
	const by = bpf.HttpEndingByOwn | bpf.HttpEndingByPeer
	ending := bpf.HttpEnding(r.Ending)
	own := message.Role(r.Requests & 1)
	switch ending & by {
	case bpf.HttpEndingByOwn:
		return ending &^ by, own.Side()
	case bpf.HttpEndingByPeer:
		return ending &^ by, (1 - own).Side()
	}
	return ending &^ by, message.Neither
}

// start sets where the streams of a connection begin: one that is older than
// what was told of it begins with that.
func (c *conn) start(r *bpf.HttpHttpRecord, sum *bpf.HttpHttpCall) {
	c.based = true
	if !c.Joined {
		return
	}
	c.base = r.Bytes
	for _, call := range []*bpf.HttpHttpCall{&r.Kept, sum, &r.Call} {
		if dir := call.Dir & 1; call.Size > 0 {
			c.base[dir] = min(c.base[dir], call.Offset)
		}
	}
	c.next = c.base
}
