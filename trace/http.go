package trace

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/http1"
	"tracer/trace/option"
)

// What stands in records and hints: the enums of bpf/http.bpf.c.
const (
	httpCall = iota + 1
	httpClose

	partSum   = 1 << 0
	partIntro = 1 << 1

	hintOpaque = 1 << 0
	hintWide   = 1 << 1
	hintBlind  = 1 << 2

	noDirection = 2

	endingUnseen = 4 // beside those of http1
)

const (
	minPrefix  = 64
	maxPrefix  = 16 << 10
	headsBytes = 16 << 20 // of requests that are kept in the kernel, at most
	maxHeads   = 4096
	keptStep   = 64 // KEPT_STEP
	httpRing   = 8 << 20

	// An answer may be told before its request, whose thread has not come
	// back from sending it. The kernel is asked for it every orphanLook, until
	// orphanPatience is over.
	orphanLook     = 15 * time.Millisecond
	orphanPatience = 500 * time.Millisecond
	// quietBytes is how much of a body must be left for the kernel to be told
	// that its calls do not matter.
	quietBytes = 256 << 10
	// idleCheck is how long a connection may be silent before the kernel is
	// asked whether it is still there.
	idleCheck = 30 * time.Second
)

// httpTracer reports HTTP/1 exchanges, and requests that wait for too long.
type httpTracer struct {
	ports   []uint16
	methods option.Methods
	path    string
	host    string
	status  option.Statuses
	slow    time.Duration
	role    string
	stuck   time.Duration
	prefix  uint64 // bytes
	summary bool

	sendpage bool // this kernel has tcp_sendpage
	recvmsg  int  // how many parameters its tcp_recvmsg has
	preempts bool // it may preempt programs: they need copies

	session  *Session
	messages http1.Sink
	conns    map[uint64]*httpConn // by the address of the kernel's socket
	orphans  []orphan
	due      []waiting           // requests that will be stuck before the next look at all
	head     []byte              // of the map heads, while it is looked at
	state    bpf.HttpSocketState // the same, of the map sockets
	summed   bpf.HttpHttpCall
	swept    uint64 // when silent connections were looked at

	// What the callbacks of messages are about.
	conn *httpConn
	now  uint64 // boot clock, as of the last record or tick
	sure uint64 // what was sent before has been decoded

	gone     uint64 // requests that messages have given up
	unpaired uint64 // ends of them

	joint
	sum    *summary
	event  event.HTTP // reused
	spoken bool       // what is spoken at the ports is known
}

// An httpConn is a connection seen from one end.
type httpConn struct {
	http1.Conn
	address  uint64
	seen     uint64 // with address, tells the socket from all others
	requests uint8  // which way they go, as far as the kernel can tell
	socket   bpf.HttpHttpSocket
	owner    event.Process
	base     [2]uint64        // where each direction begins
	based    bool             // and that is known
	next     [2]uint64        // how far each direction was told
	heard    uint64           // when something was told last
	orphan   uint64           // since when an answer waits for its request, 0: none does
	hint     bpf.HttpHttpHint // as the kernel has it
	advised  bool             // it says whether calls hold many heads
	closed   bool

	link *wire // nil until the role is known
	role http1.Role
}

type orphan struct {
	conn *httpConn
	due  uint64
}

// waiting is a request without an answer.
type waiting struct {
	address uint64
	due     uint64
}

func (t *httpTracer) Flags(fs *flag.FlagSet) {
	t.stuck, t.prefix = 5*time.Second, 1<<10
	fs.Var(option.Ports(&t.ports), "port", "`N[,N…]` only exchanges from or to one of these ports")
	fs.Var(t.methods.Value(), "method", "`M[,M…]` only these methods")
	fs.Var(option.Text(&t.path), "path", "`GLOB` only this path (with its query); * and ? match")
	fs.Var(option.Text(&t.host), "host", "`GLOB` only this host, as in the Host header; * and ? match")
	fs.Var(t.status.Value(), "status", "`5xx,400-499` only these statuses")
	fs.Var(option.Duration(&t.slow, 0), "slow", "`100ms` only exchanges that took at least this long")
	fs.Var(option.OneOf(&t.role, event.RoleClient, event.RoleServer), "role", "`client|server` only the client's or the server's side")
	fs.Var(option.Duration(&t.stuck, 0), "stuck", "`2s` report if unanswered this long; 0: off")
	fs.Var(option.Size(&t.prefix, minPrefix, maxPrefix), "prefix", "`1KiB` capture this much of each head")
	fs.BoolVar(&t.summary, "summary", false, "one row per method, host and route")
}

func (t *httpTracer) Validate() error { return nil }

func (t *httpTracer) load(s *Session) (*ebpf.CollectionSpec, error) {
	spec, err := object("http", bpf.LoadHttp)
	if err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	types, err := s.kernelTypes()
	if err != nil {
		return nil, err
	}
	t.know(types)
	if t.preempts, err = s.preempts(); err != nil {
		return nil, err
	}
	spec.Maps[bpf.HttpMapEvents].MaxEntries = httpRing
	spec.Maps[bpf.HttpMapScratches].MaxEntries *= uint32(cpus)
	if s.opts.maxSocks > 0 {
		spec.Maps[bpf.HttpMapSockets].MaxEntries = s.opts.maxSocks
	}
	heads := spec.Maps[bpf.HttpMapHeads]
	heads.ValueSize = uint32(unsafe.Offsetof(bpf.HttpHttpHead{}.Data)) + (uint32(t.prefix)+keptStep-1)/keptStep*keptStep
	heads.MaxEntries = min(uint32(headsBytes/t.prefix), maxHeads)
	if s.opts.maxHeads > 0 {
		heads.MaxEntries = s.opts.maxHeads
	}
	heads.Key, heads.Value = nil, nil // the type has another length
	for _, p := range t.ports {
		spec.Maps[bpf.HttpMapPorts].Contents = append(spec.Maps[bpf.HttpMapPorts].Contents, ebpf.MapKV{Key: p, Value: uint8(1)})
	}
	spec.Maps[bpf.HttpMapPorts].MaxEntries = uint32(max(len(t.ports), 1))
	return spec, setKnobs(spec, map[string]any{
		bpf.HttpVarPrefix:      uint32(t.prefix),
		bpf.HttpVarMaxHeads:    heads.MaxEntries,
		bpf.HttpVarFilterPorts: len(t.ports) > 0,
		bpf.HttpVarHasCopies:   t.preempts,
		bpf.HttpVarAsleep:      asleep(),
		bpf.HttpVarNrRead:      int32(unix.SYS_READ),
		bpf.HttpVarNrWrite:     int32(unix.SYS_WRITE),
		bpf.HttpVarNrReadv:     int32(unix.SYS_READV),
		bpf.HttpVarNrWritev:    int32(unix.SYS_WRITEV),
		bpf.HttpVarNrPreadv2:   int32(unix.SYS_PREADV2),
		bpf.HttpVarNrPwritev2:  int32(unix.SYS_PWRITEV2),
		bpf.HttpVarNrSendto:    int32(unix.SYS_SENDTO),
		bpf.HttpVarNrRecvfrom:  int32(unix.SYS_RECVFROM),
		bpf.HttpVarNrSendmsg:   int32(unix.SYS_SENDMSG),
		bpf.HttpVarNrRecvmsg:   int32(unix.SYS_RECVMSG),
		bpf.HttpVarNrSplice:    int32(unix.SYS_SPLICE),
	})
}

// asleep is the distance of the boot clock to the monotonic one, in ns. Programs
// add it to the kernel's own stamps, which must not come to lie in the future:
// what passes between the two readings makes it less, never more.
func asleep() uint64 {
	var longest int64
	for range 5 {
		var boot, mono unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
		longest = max(longest, boot.Nano()-mono.Nano())
	}
	return uint64(longest)
}

// know finds out what this kernel's functions are like. A wrong number of
// parameters would load, and read a parameter for the result.
func (t *httpTracer) know(types *btf.Spec) {
	var f *btf.Func
	t.sendpage = types.TypeByName("tcp_sendpage", &f) == nil
	t.recvmsg = 4
	if types.TypeByName("tcp_recvmsg", &f) == nil {
		if proto, ok := f.Type.(*btf.FuncProto); ok {
			t.recvmsg = len(proto.Params)
		}
	}
}

func (t *httpTracer) features() []feature {
	recvmsg := map[int]string{6: bpf.HttpProgHttpRecvmsg6, 5: bpf.HttpProgHttpRecvmsg5}[t.recvmsg]
	recvmsgProbe := bpf.HttpProgHttpK_recvmsg
	if t.recvmsg == 6 {
		recvmsgProbe = bpf.HttpProgHttpK_recvmsgOld
	}
	if recvmsg == "" {
		recvmsg = bpf.HttpProgHttpRecvmsg4
	}
	function := []string{bpf.HttpProgHttpSendmsg, recvmsg, bpf.HttpProgHttpSpliceRead}
	// The return first: a call that is noted must find it.
	kprobe := []string{
		bpf.HttpProgHttpR_sendmsg, bpf.HttpProgHttpR_recvmsg, bpf.HttpProgHttpR_spliceRead,
		bpf.HttpProgHttpK_sendmsg, recvmsgProbe, bpf.HttpProgHttpK_spliceRead,
	}
	tracepoint := []string{bpf.HttpProgHttpSendLength, bpf.HttpProgHttpRecvLength, bpf.HttpProgHttpSpaceAdjust}
	if t.sendpage {
		function = append(function, bpf.HttpProgHttpSendpage)
		kprobe = append(kprobe, bpf.HttpProgHttpR_sendpage, bpf.HttpProgHttpK_sendpage)
	}
	ends := []string{
		bpf.HttpProgHttpSetState, bpf.HttpProgHttpSetStateCopy1,
		bpf.HttpProgHttpDestroySock, bpf.HttpProgHttpDestroySockCopy1,
	}
	if t.preempts {
		// Of programs at a function's end the last one that was attached
		// runs first, at tracepoints the first one.
		function = append([]string{bpf.HttpProgHttpSendmsgCopy2, bpf.HttpProgHttpSendmsgCopy1,
			bpf.HttpProgHttpRecvmsg4Copy2, bpf.HttpProgHttpRecvmsg4Copy1}, function...)
		tracepoint = append(tracepoint, bpf.HttpProgHttpSendLengthCopy1, bpf.HttpProgHttpSendLengthCopy2,
			bpf.HttpProgHttpRecvLengthCopy1, bpf.HttpProgHttpRecvLengthCopy2)
		ends = append(ends, bpf.HttpProgHttpSetStateCopy2, bpf.HttpProgHttpDestroySockCopy2)
	}
	return []feature{
		{name: "ends of connections", doors: []door{{tierTracepoint, ends}}},
		{
			name:  "HTTP messages",
			doors: []door{{tierFunction, function}, {tierKprobe, kprobe}, {tierTracepoint, tracepoint}},
			misses: map[tier]string{
				tierTracepoint: "messages that go through io_uring, sendmmsg or recvmmsg, and those of 32-bit programs",
			},
		},
	}
}

func (t *httpTracer) attached(s *Session) error {
	t.session = s
	t.conns = map[uint64]*httpConn{}
	t.links = map[ends]*wire{}
	t.messages = http1.Sink{Exchange: t.exchange, Stuck: t.waits}
	t.now = bootNow()
	if t.summary {
		t.sum = newSummary(t.now)
	}
	return nil
}

// decode takes a record: the calls that it tells of go to their connection.
func (t *httpTracer) decode(s *Session, record []byte) bool {
	const head = int(unsafe.Sizeof(bpf.HttpHttpRecord{}))
	if len(record) < head {
		return false
	}
	r := (*bpf.HttpHttpRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	data := record[head:]
	if int(r.Call.Len)+int(r.Kept.Len) > len(data) || r.Call.TailLen > 8 || r.Kept.TailLen > 8 {
		return false
	}
	kept := data[r.Call.Len:]
	parts := kept[r.Kept.Len:]
	sum := &t.summed
	*sum = bpf.HttpHttpCall{}
	var intro *bpf.HttpHttpIntro
	if r.Parts&partSum != 0 && !take(&parts, sum) || sum.TailLen > 8 || sum.Len > 0 {
		return false
	}
	if r.Parts&partIntro != 0 {
		intro = new(bpf.HttpHttpIntro)
		if !take(&parts, intro) {
			return false
		}
	}
	t.now = max(t.now, r.Time)
	c := t.open(r.Socket, r.Seen, intro)
	if c == nil {
		return false
	}
	if !c.based {
		c.start(r, sum)
	}
	c.requests = r.Requests & 1
	c.heard = r.Time
	t.conn = c
	before := sum.Size > 0 && (sum.Dir != c.requests || sum.Offset < r.Kept.Offset)
	if before {
		t.feed(c, sum, nil)
	}
	t.feed(c, &r.Kept, kept)
	if sum.Size > 0 && !before {
		t.feed(c, sum, nil)
	}
	switch r.Type {
	case httpCall:
		t.feed(c, &r.Call, data)
	case httpClose:
		if r.Ending == endingUnseen {
			t.vanish(c)
			break
		}
		for dir, n := range r.Bytes {
			c.Feed(&http1.Segment{Dir: http1.Direction(dir), Offset: max(n, c.base[dir]) - c.base[dir]}, &t.messages)
		}
		t.close(c, r.Time, http1.Ending(r.Ending))
	default:
		return false
	}
	return true
}

// start sets where the streams of a connection begin: one that is older than
// what was told of it begins with that.
func (c *httpConn) start(r *bpf.HttpHttpRecord, sum *bpf.HttpHttpCall) {
	c.based = true
	if c.socket.Joined == 0 {
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

// open returns the connection of a socket. One that is not known yet is
// introduced, or else the kernel is asked; nil if it does not know either.
func (t *httpTracer) open(address, seen uint64, intro *bpf.HttpHttpIntro) *httpConn {
	c := t.conns[address]
	if c != nil && c.seen == seen {
		if intro != nil {
			c.owner = t.owner(&intro.Owner)
		}
		return c
	}
	if c != nil {
		t.vanish(c) // another socket took its address
	}
	if intro == nil {
		var st bpf.HttpSocketState
		if err := t.session.objects.Maps[bpf.HttpMapSockets].Lookup(address, &st); err != nil || st.Seen != seen {
			return nil
		}
		intro = &st.Intro
	}
	c = &httpConn{
		address: address,
		seen:    seen,
		socket:  intro.Socket,
		owner:   t.owner(&intro.Owner),
		hint:    bpf.HttpHttpHint{Seen: seen},
	}
	c.Reset(intro.Socket.Joined != 0)
	t.conns[address] = c
	return c
}

func (t *httpTracer) owner(o *bpf.HttpHttpOwner) event.Process {
	return event.Process{PID: o.Pid, Comm: t.session.comm(o.Comm), UID: o.Uid, CgroupID: o.Cgroup}
}

// feed passes a call on to the messages of its connection, unless it was
// already.
func (t *httpTracer) feed(c *httpConn, call *bpf.HttpHttpCall, data []byte) {
	dir := call.Dir & 1
	if call.Size == 0 || call.Offset < c.next[dir] || c.Opaque() {
		return
	}
	c.next[dir] = call.Offset + uint64(call.Size)
	seg := http1.Segment{
		Dir:    http1.Direction(dir),
		Offset: call.Offset - c.base[dir],
		Size:   uint64(call.Size),
		Data:   data[:call.Len],
		Time:   int64(call.Time),
		Last:   int64(call.Last),
	}
	if call.TailLen > 0 {
		seg.Tail = unsafe.Slice((*byte)(unsafe.Pointer(&call.Tail)), call.TailLen)
	}
	c.Feed(&seg, &t.messages)
	if c.link == nil && c.Kind() == http1.HTTP1 {
		t.connect(c, http1.Role(c.requests))
	}
	t.missed(c)
	if c.Holds() && c.orphan == 0 {
		c.orphan = t.now
		t.orphans = append(t.orphans, orphan{c, t.now + uint64(orphanLook)})
	}
	t.advise(c, seg.Dir, seg.Data)
}

// advise tells the kernel what calls it need not tell of, or has to look at
// more closely.
func (t *httpTracer) advise(c *httpConn, dir http1.Direction, data []byte) {
	h := c.hint
	if c.Opaque() {
		h.Flags |= hintOpaque
	} else if c.Waiting() > 1 {
		h.Flags |= hintWide
		c.advised = true
	} else if len(data) > int(t.prefix) && !c.advised {
		c.advised = true // a long head: the others may be short
		h.Dir = noDirection
	}
	next := c.next[dir] - c.base[dir]
	if until, blind := c.Body(dir); until > next && until-next > quietBytes {
		h.Until, h.Dir = until+c.base[dir], uint32(dir)
		if h.Until < until {
			h.Until = until // it was endless
		}
		h.Flags &^= hintBlind
		if blind {
			h.Flags |= hintBlind
		}
	}
	if h != c.hint {
		c.hint = h
		// If that fails calls are told in vain, no more.
		_ = t.session.objects.Maps[bpf.HttpMapHints].Put(c.address, &c.hint)
	}
}

// missed counts requests of a connection that were seen and whose answers are
// not known for certain. If both its ends are here both miss them, or the other
// one tells.
func (t *httpTracer) missed(c *httpConn) {
	n := t.messages.Lost + t.messages.Overflow - t.gone
	if n == 0 {
		return
	}
	t.gone += n
	switch {
	case !t.wantsRole(http1.Role(c.requests)):
	case t.role == "" && c.link != nil && c.link.conns[1-c.role] != nil:
		t.unpaired += n
	default:
		t.unpaired += 2 * n
	}
}

// close ends a connection.
func (t *httpTracer) close(c *httpConn, now uint64, why http1.Ending) {
	t.conn = c
	c.Close(int64(now), why, &t.messages)
	c.closed = true
	t.missed(c)
	if t.conns[c.address] == c {
		delete(t.conns, c.address)
	}
	t.disconnect(c)
}

// vanish ends a connection whose end was lost: what was still to come on it is
// not known.
func (t *httpTracer) vanish(c *httpConn) {
	for dir, n := range c.next {
		c.Feed(&http1.Segment{Dir: http1.Direction(dir), Offset: n - c.base[dir] + 1}, &t.messages)
	}
	t.close(c, t.now, http1.Closed)
}

// exchange is called by messages with an exchange that is over.
func (t *httpTracer) exchange(x *http1.Exchange) {
	c := t.conn
	if c.link == nil || c.role != x.Role {
		t.disconnect(c)
		t.connect(c, x.Role)
	}
	t.join(c, x)
}

// reportEnds shows an exchange as it was seen from one end or from both.
func (t *httpTracer) reportEnds(client, server *half) {
	if client != nil && server != nil && len(t.session.opts.Comms) > 0 &&
		!option.MatchAny(t.session.opts.Comms, server.owner.Comm) {
		server = nil // of two ends one is wanted at most
	}
	e := &t.event
	t.fill(e, event.KindHTTP, client, server)
	t.show(e)
}

// show passes an event on if it passes the probe's own filters.
func (t *httpTracer) show(e *event.HTTP) {
	filter := t.filters(e)
	switch {
	case filter != "":
		t.session.stats.filtered[filter]++
		t.session.stats.emitted++
	case t.sum != nil:
		if e.Kind == event.KindHTTP {
			t.session.stats.emitted++
		}
		if t.session.passes(e.Head()) {
			t.sum.add(e)
		}
	default:
		t.session.offer(e)
	}
}

// fill makes an event of what one end or both saw.
func (t *httpTracer) fill(e *event.HTTP, kind string, client, server *half) {
	whose, view := server, client
	role := event.RoleBoth
	switch {
	case server == nil:
		role, whose = event.RoleClient, client
	case client == nil:
		role, view = event.RoleServer, server
	}
	x := &view.x
	*e = event.HTTP{
		Common: event.Common{
			Time:    t.session.clock.wall(uint64(x.RequestStart)),
			Kind:    kind,
			Process: whose.owner,
		},
		Connection:    event.Connection{Role: role, Src: view.ends.client, Dst: view.ends.server},
		Version:       versions[min(x.Minor, 1)],
		Method:        text(x.Method),
		Path:          text(x.Target),
		PathTruncated: x.TargetTruncated,
		Host:          text(x.Host),
		Status:        x.Status,
		RequestBytes:  x.RequestBytes,
		ResponseBytes: x.ResponseBytes,
		Error:         x.Ending.String(),
	}
	// What was captured beyond the prefix is not for show.
	if n := int(t.prefix) - len(x.Method) - 1; len(e.Path) > n {
		e.Path, e.PathTruncated = e.Path[:max(n, 0)], true
	}
	e.Latency, e.Duration = times(x)
	if role == event.RoleBoth {
		e.PeerPID, e.PeerComm = client.owner.PID, client.owner.Comm
		e.ServerLatency, _ = times(&server.x)
	}
}

var versions = [...]string{"1.0", "1.1"}

// text is b as a string that is valid as long as b.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func times(x *http1.Exchange) (latency, duration time.Duration) {
	if x.ResponseStart > x.RequestStart {
		latency = time.Duration(x.ResponseStart - x.RequestStart)
	}
	if x.ResponseEnd > x.RequestStart {
		duration = time.Duration(x.ResponseEnd - x.RequestStart)
	}
	return latency, max(latency, duration)
}

// filters is the first of the probe's own filters that an exchange does not
// pass; empty if it passes them all.
func (t *httpTracer) filters(e *event.HTTP) string {
	switch {
	case len(t.methods) > 0 && !t.methods.Has(e.Method):
		return "method"
	case t.path != "" && !option.Match(t.path, e.Path):
		return "path"
	case t.host != "" && !option.Match(strings.ToLower(t.host), strings.ToLower(e.Host)):
		return "host"
	case len(t.status) > 0 && !t.status.Has(e.Status):
		return "status"
	case t.slow > 0 && max(e.Duration, e.Age) < t.slow:
		return "slow"
	}
	return ""
}

func (t *httpTracer) waiting() bool {
	return t.patient() || len(t.orphans) > 0 || len(t.due) > 0
}

func (t *httpTracer) tick(s *Session, now uint64, last bool) {
	t.now, t.sure = max(t.now, now), now
	t.adopt(last)
	t.lose(last)
	s.stats.lost[lostUnpaired] = (t.unpaired + 1) / 2
	if !last {
		t.tellStuck(now)
	} else if t.sum != nil {
		t.sum.tell(s, now, true)
	}
}

// adopt looks for the requests of answers that wait for theirs.
func (t *httpTracer) adopt(last bool) {
	list := t.orphans
	t.orphans = t.orphans[len(t.orphans):]
	for _, o := range list {
		c := o.conn
		switch {
		case !last && o.due > t.now:
			t.orphans = append(t.orphans, o)
			continue
		case c.closed:
			continue
		}
		t.fetch(c)
		if c.Holds() && !last && t.now < c.orphan+uint64(orphanPatience) {
			t.orphans = append(t.orphans, orphan{c, t.now + uint64(orphanLook)})
			continue
		}
		c.Settle(int64(t.now), &t.messages)
		t.missed(c)
		c.orphan = 0
	}
}

// fetch feeds what the kernel keeps of a connection's requests.
func (t *httpTracer) fetch(c *httpConn) {
	// What the kernel told before it must have been decoded.
	if call, data, ok := t.kept(c); ok && call.Time <= t.sure {
		t.conn = c
		t.feed(c, call, data)
	}
}

// kept is the request that the kernel keeps for the next record of a socket. It
// is valid until the next call.
func (t *httpTracer) kept(c *httpConn) (call *bpf.HttpHttpCall, data []byte, ok bool) {
	const at = int(unsafe.Offsetof(bpf.HttpHttpHead{}.Data))
	maps, st := t.session.objects.Maps, &t.state
	kept := func() (uint32, bool) {
		err := maps[bpf.HttpMapSockets].Lookup(c.address, st)
		return st.Kept, err == nil && st.Seen == c.seen && st.Kept != st.Taken
	}
	before, ok := kept()
	if !ok {
		return nil, nil, false // there is none
	}
	if t.head == nil {
		t.head = make([]byte, maps[bpf.HttpMapHeads].ValueSize())
	}
	if maps[bpf.HttpMapHeads].Lookup(st.Head, unsafe.Pointer(unsafe.SliceData(t.head))) != nil {
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

func (t *httpTracer) lookInterval() time.Duration {
	if t.stuck > 0 {
		return max(min(t.stuck, slowInterval), tickInterval)
	}
	return slowInterval
}

func (t *httpTracer) look(s *Session, now uint64) {
	t.now, t.sure = max(t.now, now), now
	_ = s.objects.Variables[bpf.HttpVarAsleep].Set(asleep()) // it was set before
	if t.stuck > 0 {
		t.scan(s, now)
	}
	if len(t.ports) > 0 && !t.spoken {
		t.tellOther(s)
	}
	if now > t.swept+uint64(idleCheck) {
		t.swept = now
		t.sweep(s, now)
	}
}

// tellOther says, once, that what goes on at the chosen ports is not HTTP/1.
func (t *httpTracer) tellOther(s *Session) {
	kinds, _, err := s.stats.tell(s.objects.Maps[bpf.ExecMapCounts])
	if err != nil {
		return // the account tells
	}
	text := ""
	switch {
	case kinds["http1"] > 0:
		t.spoken = true
		return
	case kinds["tls"] > 0 && kinds["http2"] > 0:
		text = "only TLS and HTTP/2 so far at port %s: neither can be looked into"
	case kinds["tls"] > 0:
		text = "only TLS so far at port %s: what is inside cannot be seen; trace where it is plain, as behind the proxy that ends it"
	case kinds["http2"] > 0:
		text = "only HTTP/2 so far at port %s: it cannot be read; HTTP/1 can"
	default:
		return
	}
	t.spoken = true
	ports := strings.Trim(fmt.Sprint(t.ports), "[]")
	s.opts.Notice(&event.Notice{Kind: "warning", Message: fmt.Sprintf(text, ports)})
}

// View is another one with --summary.
func (t *httpTracer) View() string {
	if t.summary {
		return "http-summary"
	}
	return "http"
}

func (t *httpTracer) every() time.Duration {
	if t.summary {
		return summaryInterval
	}
	return 0
}

func (t *httpTracer) read(*Session, bool) {}

func (t *httpTracer) report(s *Session) {
	if t.sum != nil {
		t.sum.tell(s, bootNow(), false)
	}
}

// sweep ends connections whose end was not told: that was lost.
func (t *httpTracer) sweep(s *Session, now uint64) {
	var st bpf.HttpSocketState
	for address, c := range t.conns {
		if c.heard+uint64(idleCheck) > now {
			continue
		}
		err := s.objects.Maps[bpf.HttpMapSockets].Lookup(address, &st)
		if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && st.Seen != c.seen {
			t.vanish(c)
		}
	}
}

// scan notes which requests become stuck before the next look.
func (t *httpTracer) scan(s *Session, now uint64) {
	soon := now + uint64(t.lookInterval()+tickInterval)
	t.due = t.due[:0]
	note := func(address, start uint64) {
		if start > 0 && start+uint64(t.stuck) <= soon {
			t.due = append(t.due, waiting{address, start + uint64(t.stuck)})
		}
	}
	for address, c := range t.conns {
		if c.Opaque() {
			continue
		}
		if start, ok := c.Oldest(); ok {
			note(address, uint64(start))
		} else if call, _, ok := t.kept(c); ok && call.Offset >= c.next[call.Dir&1] {
			note(address, call.Time) // not told yet
		}
	}
}

// tellStuck reports requests that have become stuck.
func (t *httpTracer) tellStuck(now uint64) {
	left := t.due[:0]
	for _, w := range t.due {
		if w.due > now {
			left = append(left, w)
			continue
		}
		t.age(w.address, now)
	}
	t.due = left
}

// age reports the stuck requests of a connection, and with them what its other
// end has of them, which may have come there late.
func (t *httpTracer) age(address, now uint64) {
	c := t.conns[address]
	if c == nil {
		return // it has ended
	}
	t.fetch(c)
	before := int64(now) - int64(t.stuck)
	t.conn = c
	c.Stuck(before, &t.messages)
	if c.link == nil || len(t.aged) == 0 {
		return // it was answered meanwhile
	}
	if other := c.link.conns[1-c.role]; other != nil {
		t.fetch(other)
		t.conn = other
		other.Stuck(before+int64(idlePatience), &t.messages)
	}
	for _, h := range t.aged {
		if h == nil {
			continue
		}
		client, server := h, (*half)(nil)
		for i, o := range t.aged {
			if o != nil && o.x.Role != h.x.Role && o.seq == h.seq && t.role == "" {
				server, t.aged[i] = o, nil
			}
		}
		if server == nil && h.x.RequestStart > before {
			continue // it is younger, and not the same one
		}
		if h.x.Role == http1.Server {
			client, server = server, client
		}
		if l := c.link; slices.Contains(l.stuck, h.seq) {
			continue // told when the other end's was
		} else if len(l.stuck) < maxOld {
			l.stuck = append(l.stuck, h.seq)
		}
		t.fill(&t.event, event.KindHTTPStuck, client, server)
		t.event.Status, t.event.Error = 0, ""
		t.event.Age = time.Duration(max(int64(now)-h.x.RequestStart, 0))
		t.show(&t.event)
	}
	t.aged = t.aged[:0]
}

// waits is called by messages with a request that is stuck.
func (t *httpTracer) waits(x *http1.Exchange) {
	if t.wantsRole(x.Role) && t.conn.link != nil {
		h := t.half(t.conn, x)
		h.keep()
		t.aged = append(t.aged, h)
	}
}

func addrPort(b *[16]uint8, port, family uint16) netip.AddrPort {
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(*b).Unmap(), port)
}
