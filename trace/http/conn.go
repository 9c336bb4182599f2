package http

import (
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/message"
	"tracer/trace/stream"
)

const (
	// quietBytes is how much of a body must be left for the kernel to be told
	// that its calls do not matter.
	quietBytes = 256 << 10
	// idleCheck is how long a connection may be silent before the kernel is
	// asked whether it is still there.
	idleCheck = 30 * time.Second
)

// A conn is a connection seen from one end.
type conn struct {
	exchange.End
	t        *tracer
	parser   message.Parser
	address  uint64
	seen     uint64            // with address, tells the socket from all others
	requests bpf.HttpDirection // which way they go, as far as the kernel can tell
	base     [2]uint64         // where each direction begins
	based    bool              // and that is known
	next     [2]uint64         // how far each direction was told
	heard    uint64            // when something was told last
	orphan   uint64            // since when an answer waits for its request, 0: none does
	watched  bool              // it is in waits
	sweptAt  uint64            // heard, when sweep looked last
	patience time.Duration     // how long it may be silent then
	hint     bpf.HttpHttpHint  // as the kernel has it
	advised  bool              // it says whether calls hold many heads
	closed   bool
}

// Methods of exchange.Source.

func (c *conn) Fetch()       { c.t.fetch(c) }
func (c *conn) Opaque() bool { return c.parser.Opaque() }
func (c *conn) Busy() bool   { return c.parser.Busy() }
func (c *conn) Closed() bool { return c.closed }

// open returns the connection of a socket. One that is not known yet is
// introduced, or else the kernel is asked; nil if it does not know either.
func (t *tracer) open(address, seen uint64, intro *bpf.HttpHttpIntro) *conn {
	c := t.conns[address]
	if c != nil && c.seen == seen {
		if intro != nil {
			c.Owner = t.owner(&intro.Owner)
		}
		return c
	}
	if c != nil {
		t.vanish(c) // another socket took its address
	}
	if intro == nil {
		var st bpf.HttpSocketState
		if err := t.session.Map(bpf.HttpMapSockets).Lookup(address, &st); err != nil || st.Seen != seen {
			return nil
		}
		intro = &st.Intro
	}
	c = &conn{
		t:       t,
		address: address,
		seen:    seen,
		parser:  t.parsers[0].Conn(intro.Socket.Joined != 0),
		hint:    bpf.HttpHttpHint{Seen: seen},
	}
	c.End = exchange.End{
		Source: c,
		End: stream.End{
			Local:  endpoint(&intro.Socket.Local, intro.Socket.LocalPort, intro.Socket.Family),
			Remote: endpoint(&intro.Socket.Remote, intro.Socket.RemotePort, intro.Socket.Family),
			Netns:  intro.Socket.Netns,
			Seq:    intro.Socket.Seq,
			Joined: intro.Socket.Joined != 0,
		},
		Owner: t.owner(&intro.Owner),
	}
	t.conns[address] = c
	return c
}

func endpoint(b *[16]uint8, port, family uint16) netip.AddrPort {
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(*b).Unmap(), port)
}

func (t *tracer) owner(o *bpf.HttpHttpOwner) event.Process {
	return event.Process{PID: o.Pid, Comm: t.session.Comm(o.Comm), UID: o.Uid, CgroupID: o.Cgroup}
}

// feed passes a call on to the messages of its connection, unless it was
// already.
func (t *tracer) feed(c *conn, call *bpf.HttpHttpCall, data []byte) {
	dir := call.Dir & 1
	if call.Size == 0 || call.Offset < c.next[dir] || c.parser.Opaque() {
		return
	}
	c.next[dir] = call.Offset + uint64(call.Size)
	seg := &t.segment
	*seg = stream.Segment{
		Dir:    stream.Direction(dir),
		Offset: call.Offset - c.base[dir],
		Size:   uint64(call.Size),
		Data:   data[:call.Len],
		Time:   int64(call.Time),
		Last:   int64(call.Last),
	}
	if call.TailLen > 0 {
		seg.Tail = unsafe.Slice((*byte)(unsafe.Pointer(&call.Tail)), call.TailLen)
	}
	c.parser.Feed(seg)
	if !c.Connected() && c.parser.Kind() == message.HTTP1 {
		t.join.Connect(&c.End, message.Role(c.requests))
	}
	t.missed(c)
	if c.parser.Holds() && c.orphan == 0 {
		c.orphan = t.now
		t.wait(c)
	}
	t.watch(c)
	t.advise(c, seg.Dir, seg.Data)
}

// advise tells the kernel what calls it need not tell of, or has to look at
// more closely.
func (t *tracer) advise(c *conn, dir stream.Direction, data []byte) {
	h := c.hint
	if c.parser.Opaque() {
		h.Flags |= uint32(bpf.HttpHintOpaque)
	} else if c.parser.Waiting() > 1 {
		h.Flags |= uint32(bpf.HttpHintWide)
		c.advised = true
	} else if len(data) > int(t.prefix) && !c.advised {
		c.advised = true // a long head: the others may be short
		h.Dir = uint32(bpf.HttpDirectionNeither)
	}
	next := c.next[dir] - c.base[dir]
	if until, blind := c.parser.Body(dir); until > next && until-next > quietBytes {
		h.Until, h.Dir = until+c.base[dir], uint32(dir)
		if h.Until < until {
			h.Until = until // it was endless
		}
		h.Flags &^= uint32(bpf.HttpHintBlind)
		if blind {
			h.Flags |= uint32(bpf.HttpHintBlind)
		}
	}
	if h != c.hint {
		c.hint = h
		// If that fails calls are told in vain, no more.
		_ = t.session.Map(bpf.HttpMapHints).Put(c.address, &c.hint)
	}
}

// missed counts requests of a connection that were seen and whose answers are
// not known for certain. If both its ends are here both miss them, or the other
// one tells.
func (t *tracer) missed(c *conn) {
	gone := uint64(0)
	for _, p := range t.parsers {
		gone += p.Counts().Lost + p.Counts().Overflow
	}
	n := gone - t.gone
	if n == 0 {
		return
	}
	t.gone += n
	switch {
	case !t.wantsRole(message.Role(c.requests)):
	case t.role == "" && t.join.Partner(&c.End) != nil:
		t.unpaired += n
	default:
		t.unpaired += 2 * n
	}
}

// close ends a connection.
func (t *tracer) close(c *conn, now uint64, why stream.Ending) {
	t.conn = c
	c.parser.Close(int64(now), why)
	c.closed = true
	t.missed(c)
	if t.conns[c.address] == c {
		delete(t.conns, c.address)
	}
	t.join.Disconnect(&c.End)
}

// vanish ends a connection whose end was lost: what was still to come on it is
// not known.
func (t *tracer) vanish(c *conn) {
	for dir, n := range c.next {
		c.parser.Feed(&stream.Segment{Dir: stream.Direction(dir), Offset: n - c.base[dir] + 1})
	}
	t.close(c, t.now, stream.Closed)
}

// fetch feeds what the kernel keeps of a connection's requests.
func (t *tracer) fetch(c *conn) {
	// What the kernel told before it must have been decoded.
	if call, data, ok := t.keptFor(c); ok && call.Time <= t.sure {
		t.conn = c
		t.feed(c, call, data)
	}
}

// keptFor is the request that the kernel keeps for the next record of a socket. It
// is valid until the next call.
func (t *tracer) keptFor(c *conn) (call *bpf.HttpHttpCall, data []byte, ok bool) {
	const at = int(unsafe.Offsetof(bpf.HttpHttpHead{}.Data))
	st := &t.state
	kept := func() (uint32, bool) {
		err := t.session.Map(bpf.HttpMapSockets).Lookup(c.address, st)
		return st.Kept, err == nil && st.Seen == c.seen && st.Kept != st.Taken
	}
	before, ok := kept()
	if !ok {
		return nil, nil, false // there is none
	}
	if t.head == nil {
		t.head = make([]byte, t.session.Map(bpf.HttpMapHeads).ValueSize())
	}
	if t.session.Map(bpf.HttpMapHeads).Lookup(st.Head, unsafe.Pointer(unsafe.SliceData(t.head))) != nil {
		return nil, nil, false
	}
	// What has not been taken has not been overwritten either.
	if after, ok := kept(); !ok || after != before {
		return nil, nil, false // it is told
	}
	head := (*bpf.HttpHttpHead)(unsafe.Pointer(unsafe.SliceData(t.head))) // but for the length of Data
	call, data = &head.Call, t.head[at:]
	return call, data, head.Socket == c.address && call.Size > 0 && int(call.Len) <= len(data) && call.TailLen <= 8
}

// sweep ends connections whose end was not told: that was lost. One that is silent for
// long is looked at less and less often.
func (t *tracer) sweep() {
	t.sweeping.Next(idleCheck)
	var st bpf.HttpSocketState
	for address, c := range t.conns {
		if c.heard != c.sweptAt {
			c.sweptAt, c.patience = c.heard, idleCheck
		}
		if c.heard+uint64(c.patience) > t.now {
			continue
		}
		c.patience *= 2
		err := t.session.Map(bpf.HttpMapSockets).Lookup(address, &st)
		if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && st.Seen != c.seen {
			t.vanish(c)
		}
	}
}
