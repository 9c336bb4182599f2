package http

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/http1"
	"tracer/trace/http2"
	"tracer/trace/message"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// protocols is the table of what can be read, by the verdict of the programs.
var protocols = []message.Protocol{http1.Protocol, http2.Protocol}

// The rows of protocols. A connection is of HTTP/1 until the programs say otherwise.
const (
	byText = iota
	byFrames
)

// tlsNames are the libraries as the key tls names them.
var tlsNames = [...]string{
	bpf.HttpLibraryNoLibrary: "",
	bpf.HttpLibraryOpenssl:   "openssl",
	bpf.HttpLibraryGnutls:    "gnutls",
	bpf.HttpLibraryNss:       "nss",
	bpf.HttpLibraryGolang:    "go",
	bpf.HttpLibraryKernelTls: "ktls",
}

func tlsName(l bpf.HttpLibrary) string { return tlsNames[min(int(l), len(tlsNames)-1)] }

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
	conns    *conns
	parser   message.Parser
	address  uint64
	seen     uint64            // with address, tells the socket from all others
	library  bpf.HttpLibrary   // that its plaintext is taken from
	requests bpf.HttpDirection // which way they go, as far as the kernel can tell
	base     [2]uint64         // where each direction begins
	based    bool              // and that is known
	framed   bool              // it speaks HTTP/2
	next     [2]uint64         // how far each direction was told
	ahead    [2][]stream.Run   // DATA behind that that was told before it was its turn
	heard    uint64            // when something was told last
	got      int64             // when this end received something last
	orphan   uint64            // since when an answer waits for its request, 0: none does
	watched  bool              // it is in waits
	sweptAt  uint64            // heard, when sweep looked last
	patience time.Duration     // how long it may be silent then
	hint     bpf.HttpHttpHint  // as the kernel has it
	counted  uint64            // exchanges that the kernel has counted as lost and that may still be given up
	gap      uint64            // where what it has counted begins, in the direction of requests
	judged   bool              // Refusal says what filters say of its owner
	closedBy message.Side      // whose doing its end was, if that is known
	closed   bool
	spent    spentList          // where the time of requests went whose exchanges are to come
	waits    []message.Exchange // with --summary: requests that were found to wait for long
}

// Methods of exchange.Source.

func (c *conn) Fetch()                  { c.conns.fetch(c) }
func (c *conn) Opaque() bool            { return c.parser.Opaque() }
func (c *conn) Busy(stream uint32) bool { return c.parser.Busy(stream) }
func (c *conn) Closed() bool            { return c.closed }

// number is TCP's number of a request's first byte, the same at both ends.
func (c *conn) number(x *message.Exchange) uint32 {
	way := stream.Sent
	if x.Role == message.Server {
		way = stream.Received
	}
	return c.Seq[way] + uint32(c.base[way]+x.RequestOffset)
}

// miss takes note of exchanges that the kernel has counted as lost. Of those, what is
// known already will be given up, and so will answers to what is not.
func (c *conn) miss(n uint64) {
	if n > 0 {
		c.counted += n
		c.gap = c.next[c.requests]
	}
}

// conns are the connections that are known, and what is told of them.
type conns struct {
	options  *options
	session  *session.Host
	parsers  []message.Parsers         // by row of protocols
	join     *exchange.Join            // takes their exchanges
	lit      func(*bpf.HttpHttpSocket) // called when plaintext of TLS comes
	fed      func(*conn)               // called with a connection that was fed
	known    map[uint64]*conn          // by the address of the kernel's socket
	waiting  map[*conn]bool            // those with waits
	sweeping *session.Timer

	current *conn  // that the callbacks of parsers are about
	now     uint64 // boot clock, as of the last record or timer
	sure    uint64 // what was sent before has been decoded

	unpaired exchange.Refusal // of what parsers give up

	segment stream.Segment      // that is fed
	runs    []stream.Run        // of it
	head    []byte              // of the map heads, while it is looked at
	state   bpf.HttpSocketState // the same, of the map sockets
}

func newConns(o *options, h *session.Host, join *exchange.Join) *conns {
	cs := &conns{
		options: o, session: h, join: join, known: map[uint64]*conn{}, waiting: map[*conn]bool{},
		unpaired: exchange.Refusal{Cause: account.Unpaired},
	}
	for _, p := range protocols {
		cs.parsers = append(cs.parsers, p.New(message.Calls{Exchange: cs.exchange, Stuck: cs.waited, GaveUp: cs.gaveUp}))
	}
	return cs
}

// advance tells the time of a record or a timer.
func (cs *conns) advance(now uint64) {
	cs.now = max(cs.now, now)
	cs.join.Advance(cs.now)
}

// open returns the connection of a socket. One that is not known yet is
// introduced, or else the kernel is asked; nil if it does not know either.
func (cs *conns) open(address, seen uint64, intro *bpf.HttpHttpIntro) *conn {
	c := cs.known[address]
	if c != nil && c.seen == seen && (intro == nil || intro.Socket.Library == c.library) {
		if intro != nil {
			c.Owner, c.judged = cs.owner(&intro.Owner), false
			if id := connID(&intro.Socket); id.Known && !c.ID.Known {
				c.Seq = intro.Socket.Seq
				cs.join.Named(&c.End, id)
			}
		}
		return c
	}
	switch {
	case c == nil:
	case c.seen == seen: // what was plain so far goes on in TLS
		cs.close(c, cs.now, stream.Complete)
	default:
		cs.vanish(c) // another socket took its address
	}
	if intro == nil {
		var st bpf.HttpSocketState
		if err := cs.session.Map(bpf.HttpMapSockets).Lookup(address, &st); err != nil || st.Seen != seen {
			return nil
		}
		intro = &st.Intro
	}
	c = &conn{
		conns:   cs,
		address: address,
		seen:    seen,
		parser:  cs.parsers[byText].Conn(intro.Socket.Joined != 0),
		library: intro.Socket.Library,
		hint:    bpf.HttpHttpHint{Seen: seen},
	}
	if c.library != bpf.HttpLibraryNoLibrary {
		cs.lit(&intro.Socket)
		intro.Socket.Seq = [2]uint32{} // TCP's numbers are those of the ciphertext
	}
	c.End = exchange.End{
		Source: c,
		End: stream.End{
			Local:  endpoint(&intro.Socket.Local, intro.Socket.LocalPort, intro.Socket.Family),
			Remote: endpoint(&intro.Socket.Remote, intro.Socket.RemotePort, intro.Socket.Family),
			Netns:  intro.Socket.Netns,
			ID:     connID(&intro.Socket),
			Seq:    intro.Socket.Seq,
			Joined: intro.Socket.Joined != 0,
			TLS:    tlsName(intro.Socket.Library),
		},
		Owner: cs.owner(&intro.Owner),
	}
	cs.known[address] = c
	return c
}

func connID(s *bpf.HttpHttpSocket) stream.ConnID {
	if s.Naming != bpf.HttpNamingNamed {
		return stream.ConnID{}
	}
	return stream.ConnID{Client: uint32(s.Id >> 32), Server: uint32(s.Id), Known: true}
}

func endpoint(b *[16]uint8, port, family uint16) netip.AddrPort {
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(*b).Unmap(), port)
}

func (cs *conns) owner(o *bpf.HttpHttpOwner) event.Process {
	return event.Process{PID: o.Pid, Comm: cs.session.Comm(o.Comm), UID: o.Uid, CgroupID: o.Cgroup}
}

// feed passes a call on to the messages of its connection, unless it was
// already.
func (cs *conns) feed(c *conn, call *bpf.HttpHttpCall, data []byte) {
	dir := call.Dir & 1
	if call.Size == 0 || call.Offset < c.next[dir] || c.parser.Opaque() {
		return
	}
	if call.TailLen&uint8(bpf.HttpCallNoteUrgent) != 0 {
		c.base[dir] += call.Offset - c.next[dir] // as if it had not been there, at both ends
	}
	c.next[dir] = call.Offset + uint64(call.Size)
	seg := &cs.segment
	*seg = stream.Segment{
		Dir:    stream.Direction(dir),
		Offset: call.Offset - c.base[dir],
		Size:   uint64(call.Size),
		Data:   data[:call.Len],
		Time:   int64(call.Time),
		Last:   int64(call.Last),
		Rest:   call.TailLen&uint8(bpf.HttpCallNoteGoesOn) != 0,
	}
	c.time(seg)
	if n := tailLen(call); n > 0 {
		seg.Tail = unsafe.Slice((*byte)(unsafe.Pointer(&call.Tail)), n)
	}
	c.parser.Feed(seg)
	cs.moved(c)
	cs.advise(c, seg.Dir, seg.Data)
}

// time mends the time of a send. The kernel may have noted that in microseconds, and so
// up to one too early: a server that answers within one has not answered before.
func (c *conn) time(seg *stream.Segment) {
	switch {
	case seg.Dir == stream.Received:
		c.got = seg.Last
	case seg.Time < c.got && c.got-seg.Time < int64(time.Microsecond):
		seg.Time = c.got
		seg.Last = max(seg.Last, seg.Time)
	}
}

// moved does what is to be done once a parser was fed.
func (cs *conns) moved(c *conn) {
	if !c.Connected() && (c.parser.Kind() == message.HTTP1 || c.parser.Kind() == message.HTTP2 && !c.Joined) {
		cs.join.Connect(&c.End, message.Role(c.requests))
		cs.judge(c)
	}
	cs.fed(c)
}

// advise tells the kernel what calls it need not tell of, or has to look at
// more closely.
func (cs *conns) advise(c *conn, dir stream.Direction, data []byte) {
	h := c.hint
	if c.parser.Opaque() {
		h.Flags |= uint32(bpf.HttpHintOpaque)
	} else if c.parser.Waiting() > 1 {
		h.Flags |= uint32(bpf.HttpHintWide)
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
	if h != c.hint && cs.session.Object != nil {
		c.hint = h
		// If that fails calls are told in vain, no more.
		_ = cs.session.Map(bpf.HttpMapHints).Put(c.address, &c.hint)
	}
}

// judge says whether an end's owner passes the filters that user space decides. It
// does so once for each owner, or until that is known.
func (cs *conns) judge(c *conn) {
	if c.judged {
		return
	}
	r := exchange.Refusal(cs.session.JudgeOwner(&c.Owner))
	c.judged = r.Cause == ""
	switch {
	case r == exchange.Refusal{}:
		c.Refusal = nil
	case c.Refusal == nil || *c.Refusal != r:
		c.Refusal = &exchange.Refusal{Filter: r.Filter, Cause: r.Cause}
	}
}

// exchange is called by parsers with an exchange that is over. With --role the ends
// are rows of their own, else they are judged, then joined.
func (cs *conns) exchange(x *message.Exchange) {
	c := cs.current
	cs.join.Connect(&c.End, x.Role)
	cs.judge(c)
	if !c.framed {
		c.counted = 0 // it is understood again
	}
	cs.over(c, x)
	if x.ClosedBy == message.Neither && x.Ending != stream.Complete && x.Ending != stream.Timeout {
		x.ClosedBy = c.closedBy
	}
	if len(c.spent) > 0 {
		x.Spent = c.spent.on(x)
	}
	switch {
	case !cs.options.wantsRole(x.Role):
		cs.session.Ledger.Filtered("role", 1)
	case cs.options.role != "":
		cs.join.AddAlone(&c.End, x, c.number(x))
	default:
		cs.join.Add(&c.End, x, c.number(x))
	}
}

// waited is called by parsers with a request that is stuck.
func (cs *conns) waited(x *message.Exchange) {
	c := cs.current
	if c.framed || x.Incomplete {
		cs.join.Connect(&c.End, x.Role) // which side it is, may be known by now only
	}
	switch {
	case !c.Connected():
	case cs.options.summary:
		if cs.options.wantsRole(x.Role) {
			cs.wait(c, x)
		}
	case cs.options.wantsRole(x.Role):
		cs.judge(c)
		cs.join.Age(&c.End, x, c.number(x))
	default:
		cs.session.Ledger.Filtered("role", 1)
	}
}

// wait takes note of a request for the summary: it waits until its exchange is over, or
// the connection is.
func (cs *conns) wait(c *conn, x *message.Exchange) {
	kept := *x // its texts are valid during the call only
	kept.Method, kept.Target, kept.Host = bytes.Clone(x.Method), bytes.Clone(x.Target), bytes.Clone(x.Host)
	c.waits = append(c.waits, kept)
	cs.waiting[c] = true
}

// over takes note that a request has been answered, or was given up.
func (cs *conns) over(c *conn, x *message.Exchange) {
	if len(c.waits) > 0 {
		c.waits = slices.DeleteFunc(c.waits, func(w message.Exchange) bool {
			return w.RequestStart == x.RequestStart && w.RequestOffset == x.RequestOffset
		})
	}
}

// eachWaiting calls f with each request that waits, as it would be in a row: once if both
// ends have it.
func (cs *conns) eachWaiting(f func(c *conn, x *message.Exchange)) {
	shown := func(c *conn) bool {
		cs.judge(c)
		return c.Refusal == nil && len(c.waits) > 0
	}
	for c := range cs.waiting {
		// Of those in order the first have an answer under way.
		if n := c.parser.Waiting(); n == 0 {
			c.waits = nil
		} else if c.parser.Kind() == message.HTTP1 && n < len(c.waits) {
			c.waits = slices.Delete(c.waits, 0, len(c.waits)-n)
		} else if c.parser.Kind() == message.HTTP2 {
			c.waits = slices.DeleteFunc(c.waits, func(w message.Exchange) bool { return !c.parser.Waits(w.Stream) })
		}
		if c.closed || c.parser.Opaque() || len(c.waits) == 0 {
			c.waits = nil
			delete(cs.waiting, c)
			continue
		}
		if other := cs.join.Partner(&c.End); c.Role() == message.Server && cs.options.role == "" && other != nil && shown(other.Source.(*conn)) {
			continue // the client's is the row
		}
		if shown(c) {
			for i := range c.waits {
				f(c, &c.waits[i])
			}
		}
	}
}

// gaveUp is called by parsers with an exchange that took place and cannot be told. It
// is lost to this end; if the other one is here and has it, it is not lost at all.
func (cs *conns) gaveUp(x *message.Exchange) {
	c := cs.current
	cs.judge(c)
	cs.over(c, x)
	switch {
	case c.counted > 0 && (x.RequestStart == 0 || !c.framed && c.base[c.requests]+x.RequestOffset < c.gap):
		c.counted-- // a record of it found no room
	case !cs.options.wantsRole(x.Role):
		cs.session.Ledger.Filtered("role", 1)
	case cs.options.role == "" && c.Connected() && c.Role() == x.Role && (x.RequestStart != 0 || x.Stream != 0):
		cs.join.Miss(&c.End, x, c.number(x), &cs.unpaired)
	case c.Refusal != nil && c.Refusal.Filter != "":
		cs.session.Ledger.Filtered(c.Refusal.Filter, 1)
	default:
		cs.session.Ledger.Lost(cs.unpaired.Cause, 1)
	}
}

// giveUp gives up what may be over, unseen: nothing more will be told.
func (cs *conns) giveUp() {
	for _, c := range cs.known {
		cs.current = c
		c.parser.GiveUp()
	}
}

// close ends a connection.
func (cs *conns) close(c *conn, now uint64, why stream.Ending) {
	cs.current = c
	c.parser.Close(int64(now), why)
	c.closed = true
	delete(cs.waiting, c)
	if cs.known[c.address] == c {
		delete(cs.known, c.address)
	}
	cs.join.Disconnect(&c.End)
}

// vanish ends a connection whose end was lost: what was still to come on it is
// not known.
func (cs *conns) vanish(c *conn) {
	cs.current = c
	c.miss(1)
	for dir, n := range c.next {
		c.parser.Feed(&stream.Segment{Dir: stream.Direction(dir), Offset: n - c.base[dir] + 1})
	}
	cs.close(c, cs.now, stream.Closed)
}

// sweep ends connections whose end was not told: that was lost. One that is silent for
// long is looked at less and less often.
func (cs *conns) sweep() {
	cs.sweeping.Next(idleCheck)
	var st bpf.HttpSocketState
	for address, c := range cs.known {
		if c.heard != c.sweptAt {
			c.sweptAt, c.patience = c.heard, idleCheck
		}
		if c.heard+uint64(c.patience) > cs.now {
			continue
		}
		c.patience *= 2
		err := cs.session.Map(bpf.HttpMapSockets).Lookup(address, &st)
		if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && st.Seen != c.seen {
			cs.vanish(c)
		}
	}
}

// fetch feeds what the kernel keeps of a connection's requests.
func (cs *conns) fetch(c *conn) {
	// What the kernel told before it must have been decoded.
	if call, data, ok := cs.keptFor(c); ok && call.Time <= cs.sure {
		cs.current = c
		cs.feed(c, call, data)
	}
}

// keptFor is the request that the kernel keeps for the next record of a socket. It
// is valid until the next call.
func (cs *conns) keptFor(c *conn) (call *bpf.HttpHttpCall, data []byte, ok bool) {
	const at = int(unsafe.Offsetof(bpf.HttpHttpHead{}.Data))
	if cs.session.Object == nil {
		return nil, nil, false // records that are not this session's: see session.Offline
	}
	st := &cs.state
	kept := func() (uint8, bool) {
		err := cs.session.Map(bpf.HttpMapSockets).Lookup(c.address, st)
		return st.Kept, err == nil && st.Seen == c.seen && st.Kept != st.Taken
	}
	before, ok := kept()
	if !ok {
		return nil, nil, false // there is none
	}
	if cs.head == nil {
		cs.head = make([]byte, cs.session.Map(bpf.HttpMapHeads).ValueSize())
	}
	if cs.session.Map(bpf.HttpMapHeads).Lookup(st.Head, unsafe.Pointer(unsafe.SliceData(cs.head))) != nil {
		return nil, nil, false
	}
	// What has not been taken has not been overwritten either.
	if after, ok := kept(); !ok || after != before {
		return nil, nil, false // it is told
	}
	head := (*bpf.HttpHttpHead)(unsafe.Pointer(unsafe.SliceData(cs.head))) // but for the length of Data
	call, data = &head.Call, cs.head[at:]
	return call, data, head.Socket == c.address && call.Size > 0 && int(call.Len) <= len(data) && tailLen(call) <= 8
}

// tailLen is how many of the last bytes of a call were captured.
func tailLen(call *bpf.HttpHttpCall) uint8 {
	return call.TailLen &^ uint8(bpf.HttpCallNoteGoesOn|bpf.HttpCallNoteUrgent)
}
