package trace

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/http1"
)

// Types of records: enum record_type in bpf/http.bpf.c.
const (
	httpCall = iota + 1
	httpClose
)

const (
	minPrefix  = 64
	maxPrefix  = 16 << 10
	headsBytes = 4 << 20 // of requests that are kept in the kernel
	httpRing   = 16 << 20

	// partnerPatience is how long an exchange waits for the same one seen
	// from the other end.
	partnerPatience = 50 * time.Millisecond
	// orphanPatience is how long an answer may wait for its request before
	// the kernel is asked whether it still keeps it.
	orphanPatience = 15 * time.Millisecond
	// overlapSlack is by how much the times of the two ends may disagree.
	overlapSlack = 2 * time.Millisecond
	// maxHalves bounds the exchanges that wait for their other end.
	maxHalves = 1 << 16
	// idleCheck is how long a connection may be silent before the kernel is
	// asked whether it is still there.
	idleCheck = 30 * time.Second
)

// httpTracer reports HTTP/1 exchanges, and requests that wait for too long.
type httpTracer struct {
	ports   portList
	methods nameList
	path    string
	host    string
	status  statusList
	slow    time.Duration
	role    string
	stuck   time.Duration
	prefix  byteSize
	summary bool

	hasSendpage, oldRecvmsg bool // what this kernel's functions are

	messages http1.Sink
	conns    map[uint64]*httpConn // by the address of the kernel's socket
	links    map[ends]*wire
	halves   []*half // that wait for their other end, oldest first
	orphans  []orphan
	due      []kept // requests that will be reported as stuck
	scanned  uint64 // when the kernel's were looked at
	swept    uint64

	// What the callbacks of messages are about.
	session *Session
	conn    *httpConn
	now     uint64
	aged    []*half // the stuck ones that were found

	spare []*half
	event event.HTTP // reused
	sum   *summary
}

// ends are the two ends of a connection, the client's first.
type ends struct{ client, server netip.AddrPort }

// An httpConn is a connection seen from one end.
type httpConn struct {
	http1.Conn
	id     bpf.HttpHttpSocket
	owner  bpf.HttpHttpOwner
	next   [2]uint64 // how far each direction was told
	heard  uint64    // when something was told last
	ended  uint64    // when an exchange was reported last
	orphan uint64    // time of an answer without request, 0: none
	role   http1.Role
	link   *wire // nil until the role is known
	opaque bool  // and the kernel was told
}

// A wire joins the two ends of a connection, as far as both are here.
type wire struct {
	ends
	conns  [2]*httpConn // by role
	halves [2][]*half   // that wait, by role
	alone  bool         // one end waited in vain: the other one is elsewhere
}

// A half is an exchange seen from one end.
type half struct {
	link  *wire // nil once it was reported
	ends  ends
	owner bpf.HttpHttpOwner
	since uint64 // when it was found
	x     http1.Exchange
	text  []byte // holds the text of x
}

type orphan struct {
	conn *httpConn
	seen uint64 // its id: a conn is reused
	due  uint64
}

// kept is a request that the kernel keeps.
type kept struct {
	address uint64
	due     uint64
}

func (t *httpTracer) Flags(fs *flag.FlagSet) {
	t.stuck, t.prefix = 5*time.Second, 1<<10
	fs.Var(&t.ports, "port", "only connections with one of these ports `N[,N…]` at either end")
	fs.Var(&t.methods, "method", "only these methods `M[,M…]`")
	fs.StringVar(&t.path, "path", "", "only request targets like `GLOB`; * and ? match")
	fs.StringVar(&t.host, "host", "", "only hosts like `GLOB`; * and ? match")
	fs.Var(&t.status, "status", "only these statuses `500|5xx|400-499[,…]`")
	fs.DurationVar(&t.slow, "slow", 0, "only exchanges that took at least this long, as 100ms")
	fs.StringVar(&t.role, "role", "", "only the side that sent or that received the request: `client|server`")
	fs.DurationVar(&t.stuck, "stuck", t.stuck, "report requests that are unanswered after this long; 0 turns it off")
	fs.Var(&t.prefix, "prefix", "`bytes` of each message's head that are captured, up to 16KiB")
	fs.BoolVar(&t.summary, "summary", false, "a row per method, host and route instead of one per exchange")
}

func (t *httpTracer) Validate() error {
	switch {
	case t.role != "" && t.role != event.RoleClient && t.role != event.RoleServer:
		return fmt.Errorf("--role: %q is neither client nor server", t.role)
	case t.slow < 0:
		return errors.New("--slow: must not be negative")
	case t.stuck < 0:
		return errors.New("--stuck: must not be negative")
	case t.prefix < minPrefix || t.prefix > maxPrefix:
		return errors.New("--prefix: must be between 64 and 16KiB")
	}
	return nil
}

func (t *httpTracer) load(s *Session) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadHttp()
	if err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	t.askKernel(s.opts.BTF)
	spec.Maps[bpf.HttpMapEvents].MaxEntries = httpRing
	spec.Maps[bpf.HttpMapScratches].MaxEntries *= uint32(cpus)
	heads := spec.Maps[bpf.HttpMapHeads]
	heads.ValueSize = uint32(unsafe.Offsetof(bpf.HttpHttpHead{}.Data)) + uint32(t.prefix)
	heads.MaxEntries = uint32(headsBytes / t.prefix)
	heads.Key, heads.Value = nil, nil // the type has another length
	for _, p := range t.ports {
		spec.Maps[bpf.HttpMapPorts].Contents = append(spec.Maps[bpf.HttpMapPorts].Contents, ebpf.MapKV{Key: p, Value: uint8(1)})
	}
	return spec, setKnobs(spec, map[string]any{
		bpf.HttpVarPrefix:      uint32(t.prefix),
		bpf.HttpVarFilterPorts: len(t.ports) > 0,
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
	})
}

// askKernel looks up which functions there are. What is not known is taken to
// be as in newer kernels.
func (t *httpTracer) askKernel(file string) {
	types, err := kernelTypes(file)
	if err == nil && types == nil {
		types, err = btf.LoadKernelSpec()
	}
	if err != nil {
		return
	}
	var f *btf.Func
	t.hasSendpage = types.TypeByName("tcp_sendpage", &f) == nil
	if types.TypeByName("tcp_recvmsg", &f) == nil {
		if proto, ok := f.Type.(*btf.FuncProto); ok {
			t.oldRecvmsg = len(proto.Params) == 6
		}
	}
}

// asleep is the distance of the boot clock to the monotonic one, in ns.
func asleep() uint64 {
	var boot, mono unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	// The clocks are read one after the other: what is less was awake time.
	const noise = int64(10 * time.Millisecond)
	if d := boot.Nano() - mono.Nano(); d > noise {
		return uint64(d)
	}
	return 0
}

func (t *httpTracer) features() []feature {
	function := []string{bpf.HttpProgHttpSendmsg, bpf.HttpProgHttpRecvmsg, bpf.HttpProgHttpSpliceRead}
	recvmsg := bpf.HttpProgHttpK_recvmsg
	if t.oldRecvmsg {
		recvmsg = bpf.HttpProgHttpK_recvmsgOld
	}
	// The return first: a call that is noted must find it.
	kprobe := []string{
		bpf.HttpProgHttpR_sendmsg, bpf.HttpProgHttpR_recvmsg, bpf.HttpProgHttpR_spliceRead,
		bpf.HttpProgHttpK_sendmsg, recvmsg, bpf.HttpProgHttpK_spliceRead,
	}
	if t.hasSendpage {
		function = append(function, bpf.HttpProgHttpSendpage)
		kprobe = append(kprobe, bpf.HttpProgHttpR_sendpage, bpf.HttpProgHttpK_sendpage)
	}
	return []feature{
		{name: "ends of connections", doors: []door{{tierTracepoint, []string{
			bpf.HttpProgHttpSetState, bpf.HttpProgHttpDestroySock,
		}}}},
		{name: "HTTP messages", doors: []door{
			{tierFunction, function},
			{tierKprobe, kprobe},
			{tierTracepoint, []string{bpf.HttpProgHttpSendLength, bpf.HttpProgHttpRecvLength}},
		}},
	}
}

func (t *httpTracer) attached(s *Session) error {
	t.session = s
	t.conns = map[uint64]*httpConn{}
	t.links = map[ends]*wire{}
	t.messages = http1.Sink{Exchange: t.exchange, Stuck: t.waits}
	if t.summary {
		t.sum = newSummary(bootNow())
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
	c := t.open(&r.Socket)
	c.owner = r.Owner
	switch r.Type {
	case httpCall:
		t.feed(c, &r.Kept, data[r.Call.Len:])
		t.feed(c, &r.Call, data)
	case httpClose:
		t.feed(c, &r.Kept, data[r.Call.Len:])
		for dir, n := range r.Bytes {
			c.Feed(&http1.Segment{Dir: http1.Direction(dir), Offset: n}, &t.messages)
		}
		t.close(c, r.Time, http1.Ending(r.Ending))
	default:
		return false
	}
	return true
}

// open returns the connection of a socket, new if need be.
func (t *httpTracer) open(id *bpf.HttpHttpSocket) *httpConn {
	c := t.conns[id.Address]
	if c != nil && c.id.Seen != id.Seen {
		// Its end was lost, and another socket took its address.
		t.close(c, bootNow(), http1.Closed)
		c = nil
	}
	if c == nil {
		c = &httpConn{}
		c.Reset(id.Joined != 0)
		t.conns[id.Address] = c
	}
	c.id = *id
	return c
}

// feed passes a call on to the messages of its connection, unless it was
// already.
func (t *httpTracer) feed(c *httpConn, call *bpf.HttpHttpCall, data []byte) {
	dir := call.Dir & 1
	if call.Size == 0 || call.Offset < c.next[dir] {
		return
	}
	c.next[dir] = call.Offset + uint64(call.Size)
	c.heard = call.Last
	if c.opaque {
		return
	}
	seg := http1.Segment{
		Dir:    http1.Direction(dir),
		Offset: call.Offset,
		Size:   uint64(call.Size),
		Data:   data[:call.Len],
		Time:   int64(call.Time),
		Last:   int64(call.Last),
	}
	if call.TailLen > 0 {
		seg.Tail = unsafe.Slice((*byte)(unsafe.Pointer(&call.Tail)), call.TailLen)
	}
	if dir == c.id.Requests {
		// An answer that was told before its request cannot be older.
		if c.orphan != 0 && seg.Time >= int64(c.orphan) {
			seg.Last -= seg.Time - int64(c.orphan) + 1
			seg.Time = int64(c.orphan) - 1
		}
		c.orphan = 0
	} else if len(seg.Data) > 4 && string(seg.Data[:5]) == "HTTP/" {
		if _, waits := c.Oldest(); !waits && c.orphan == 0 {
			c.orphan = call.Time
			t.orphans = append(t.orphans, orphan{c, c.id.Seen, bootNow() + uint64(orphanPatience)})
		}
	}
	t.conn, t.now = c, call.Last
	c.Feed(&seg, &t.messages)
	if c.link == nil && c.Kind() == http1.HTTP1 {
		t.connect(c)
	}
	if c.Opaque() {
		t.ignore(c)
	}
}

// ignore tells the kernel that a connection does not speak HTTP any more.
func (t *httpTracer) ignore(c *httpConn) {
	c.opaque = true
	// If that fails its calls are told in vain, no more.
	_ = t.session.objects.Maps[bpf.HttpMapOpaque].Put(c.id.Address, c.id.Seen)
}

// connect looks for the other end.
func (t *httpTracer) connect(c *httpConn) {
	local, remote := addrPort(&c.id.Local, c.id.LocalPort, c.id.Family), addrPort(&c.id.Remote, c.id.RemotePort, c.id.Family)
	key := ends{local, remote}
	c.role = http1.Client
	if c.id.Requests == uint8(http1.Received) {
		key = ends{remote, local}
		c.role = http1.Server
	}
	l := t.links[key]
	if l == nil {
		l = &wire{ends: key}
		t.links[key] = l
	}
	if old := l.conns[c.role]; old != nil {
		old.link = nil // its end was not told yet: it is over
	}
	l.conns[c.role] = c
	l.alone = false
	c.link = l
}

func addrPort(b *[16]uint8, port, family uint16) netip.AddrPort {
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(*b).Unmap(), port)
}

// close ends a connection.
func (t *httpTracer) close(c *httpConn, now uint64, why http1.Ending) {
	t.conn, t.now = c, now
	c.Close(int64(now), why, &t.messages)
	if t.conns[c.id.Address] == c {
		delete(t.conns, c.id.Address)
	}
	c.id.Seen = 0
	if l := c.link; l != nil {
		l.conns[c.role] = nil
		t.unlink(l)
	}
}

// unlink forgets a wire that nothing needs.
func (t *httpTracer) unlink(l *wire) {
	if l.conns[0] == nil && l.conns[1] == nil && len(l.halves[0]) == 0 && len(l.halves[1]) == 0 && t.links[l.ends] == l {
		delete(t.links, l.ends)
	}
}

// exchange is called by messages with an exchange that is over.
func (t *httpTracer) exchange(x *http1.Exchange) {
	c := t.conn
	c.ended = t.now
	if c.link == nil {
		t.connect(c)
	}
	h := t.half(c, x)
	if t.role != "" {
		// One side is enough to know all that is asked for.
		t.report(h, nil)
		return
	}
	l := c.link
	other := l.halves[1-c.role]
	for i, o := range other {
		if same(h, o) {
			l.halves[1-c.role] = remove(other, i)
			o.link = nil
			t.report(h, o)
			return
		}
	}
	if l.alone && l.conns[1-c.role] == nil || len(t.halves) >= maxHalves {
		t.report(h, nil)
		return
	}
	h.link = l
	h.since = bootNow()
	l.halves[c.role] = append(l.halves[c.role], h)
	t.halves = append(t.halves, h)
}

func remove(list []*half, i int) []*half {
	copy(list[i:], list[i+1:])
	list[len(list)-1] = nil
	return list[:len(list)-1]
}

// half keeps what is known of an exchange.
func (t *httpTracer) half(c *httpConn, x *http1.Exchange) *half {
	var h *half
	if n := len(t.spare); n > 0 {
		h, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		h = &half{}
	}
	h.link = nil
	h.owner = c.owner
	h.x = *x
	h.x.Role = c.role
	h.text = append(append(append(h.text[:0], x.Method...), x.Target...), x.Host...)
	m, p := len(x.Method), len(x.Method)+len(x.Target)
	h.x.Method, h.x.Target, h.x.Host = h.text[:m], h.text[m:p], h.text[p:]
	h.ends = c.link.ends
	return h
}

// same reports whether two halves, one of each end, are of one exchange.
func same(a, b *half) bool {
	return (a.x.Status == b.x.Status || a.x.Status == 0 || b.x.Status == 0) &&
		string(a.text) == string(b.text) &&
		a.x.RequestStart < b.x.ResponseEnd+int64(overlapSlack) &&
		b.x.RequestStart < a.x.ResponseEnd+int64(overlapSlack)
}

// report shows an exchange: the half h, with the other end's if there is one.
func (t *httpTracer) report(h, other *half) {
	defer t.drop(h)
	if other != nil {
		defer t.drop(other)
	}
	client, server := h, other
	if h.x.Role == http1.Server {
		client, server = other, h
	}
	if other != nil && len(t.session.opts.Comms) > 0 {
		// Of two ends of which one is wanted, that one.
		if !matchAny(t.session.opts.Comms, t.session.comm(server.owner.Comm)) {
			server = nil
		}
	}
	e := &t.event
	t.fill(e, event.KindHTTP, client, server)
	if !t.matches(e) {
		t.session.stats.emitted++
		return
	}
	if t.sum != nil {
		t.sum.add(e)
		t.session.stats.emitted++
		return
	}
	t.session.emit(e)
}

// drop keeps a half for reuse.
func (t *httpTracer) drop(h *half) {
	if h.since == 0 && len(t.spare) < 4096 && cap(h.text) <= 4096 {
		t.spare = append(t.spare, h)
	}
	h.link = nil
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
			Time: t.session.clock.wall(uint64(x.RequestStart)),
			Kind: kind,
			Process: event.Process{
				PID:      whose.owner.Pid,
				Comm:     t.session.comm(whose.owner.Comm),
				UID:      whose.owner.Uid,
				CgroupID: whose.owner.Cgroup,
			},
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
	e.Latency, e.Duration = times(x)
	if role == event.RoleBoth {
		e.PeerPID = client.owner.Pid
		e.PeerComm = t.session.comm(client.owner.Comm)
		e.ServerLatency, _ = times(&server.x)
		if e.Status == 0 && server.x.Status != 0 && e.Error == "" {
			e.Status = server.x.Status
		}
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

// matches reports whether an exchange passes the probe's own filters.
func (t *httpTracer) matches(e *event.HTTP) bool {
	return (t.role == "" || t.role == e.Role) &&
		(len(t.methods) == 0 || t.methods.has(e.Method)) &&
		(t.path == "" || Match(t.path, e.Path)) &&
		(t.host == "" || Match(strings.ToLower(t.host), strings.ToLower(e.Host))) &&
		(len(t.status) == 0 || t.status.has(e.Status) && e.Kind == event.KindHTTP) &&
		(t.slow == 0 || max(e.Duration, e.Age) >= t.slow)
}

func (t *httpTracer) waiting() bool {
	return len(t.halves) > 0 || len(t.orphans) > 0 || len(t.due) > 0
}

func (t *httpTracer) tick(s *Session, now uint64, last bool) {
	if last {
		// Exchanges whose end was seen by now are told; the rest goes on.
		for _, h := range t.halves {
			t.alone(h)
		}
		t.halves = nil
		if t.sum != nil {
			t.sum.tell(s, now)
			t.sum.tellTotal(s, now)
		}
		return
	}
	n := 0
	for ; n < len(t.orphans) && t.orphans[n].due <= now; n++ {
		if o := t.orphans[n]; o.conn.id.Seen == o.seen && o.conn.orphan != 0 {
			t.fetch(o.conn)
		}
	}
	t.orphans = append(t.orphans[:0], t.orphans[n:]...)

	var again []*half
	for n = 0; n < len(t.halves); n++ {
		h := t.halves[n]
		if h.link != nil && h.since+uint64(partnerPatience) > now {
			break
		}
		if h.link != nil && h.link.busy(1-h.x.Role) {
			h.since = now
			again = append(again, h)
			continue
		}
		t.alone(h)
	}
	t.halves = append(append(t.halves[:0], t.halves[n:]...), again...)
	t.tellStuck(now)
}

// busy reports whether the end in that role is in the middle of an exchange
// that may be the one that the other end waits for.
func (l *wire) busy(role http1.Role) bool {
	c := l.conns[role]
	return c != nil && c.heard > c.ended && !c.opaque
}

// alone reports a half that has waited long enough for the other one.
func (t *httpTracer) alone(h *half) {
	l := h.link
	h.since = 0
	if l == nil { // it has been reported
		t.drop(h)
		return
	}
	list := l.halves[h.x.Role]
	for i := range list {
		if list[i] == h {
			l.halves[h.x.Role] = remove(list, i)
			break
		}
	}
	l.alone = l.alone || l.conns[1-h.x.Role] == nil
	t.report(h, nil)
	t.unlink(l)
}

// fetch feeds what the kernel keeps of a connection's requests.
func (t *httpTracer) fetch(c *httpConn) {
	value, err := t.session.objects.Maps[bpf.HttpMapHeads].LookupBytes(c.id.Address)
	if err != nil || value == nil {
		return
	}
	if call, data, ok := headOf(value); ok && int(call.Size) > 0 {
		t.feed(c, call, data)
	}
}

// headOf reads a value of the map heads.
func headOf(value []byte) (call *bpf.HttpHttpCall, data []byte, ok bool) {
	const at = int(unsafe.Offsetof(bpf.HttpHttpHead{}.Data))
	if len(value) < at {
		return nil, nil, false
	}
	call = (*bpf.HttpHttpCall)(unsafe.Pointer(unsafe.SliceData(value)))
	data = value[at:]
	return call, data, int(call.Len) <= len(data) && call.TailLen <= 8
}

// second is called every second.
func (t *httpTracer) second(s *Session, now uint64) {
	_ = s.objects.Variables[bpf.HttpVarAsleep].Set(asleep())
	if t.stuck > 0 {
		t.scan(s, now)
	}
	if now > t.swept+uint64(idleCheck) {
		t.swept = now
		t.sweep(s, now)
	}
	if t.sum != nil {
		t.sum.tell(s, now)
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
		if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && st.Socket.Seen != c.id.Seen {
			t.close(c, now, http1.Closed)
		}
	}
}

// scan notes which requests become stuck before the next look.
func (t *httpTracer) scan(s *Session, now uint64) {
	soon := now + uint64(slowInterval+tickInterval)
	t.due = t.due[:0]
	note := func(address, start uint64) {
		if start > 0 && start+uint64(t.stuck) <= soon {
			t.due = append(t.due, kept{address, start + uint64(t.stuck)})
		}
	}
	var address uint64
	var value []byte
	heads := s.objects.Maps[bpf.HttpMapHeads].Iterate()
	for heads.Next(&address, &value) {
		if call, _, ok := headOf(value); ok && call.Size > 0 {
			note(address, call.Time)
		}
	}
	for address, c := range t.conns {
		if start, ok := c.Oldest(); ok {
			note(address, uint64(start))
		}
	}
}

// tellStuck reports requests that have become stuck.
func (t *httpTracer) tellStuck(now uint64) {
	left := t.due[:0]
	for _, k := range t.due {
		if k.due > now {
			left = append(left, k)
			continue
		}
		t.age(k.address, now)
	}
	t.due = left
	for _, h := range t.aged {
		if h.link == nil {
			continue // reported with its other end
		}
		client, server := h, (*half)(nil)
		if h.x.Role == http1.Server {
			client, server = nil, h
		}
		for _, o := range t.aged {
			if o.link == h.link && o.x.Role != h.x.Role && string(o.text) == string(h.text) && t.role == "" {
				o.link = nil
				if client == nil {
					client = o
				} else {
					server = o
				}
				break
			}
		}
		t.fill(&t.event, event.KindHTTPStuck, client, server)
		t.event.Age = time.Duration(max(int64(now)-h.x.RequestStart, 0))
		h.link = nil
		if t.matches(&t.event) {
			t.session.emit(&t.event)
		} else {
			t.session.stats.emitted++
		}
	}
	for _, h := range t.aged {
		t.drop(h)
	}
	t.aged = t.aged[:0]
}

// age reports the stuck requests of a connection, and with them those of its
// other end, which may be a little younger.
func (t *httpTracer) age(address, now uint64) {
	c := t.conns[address]
	if c == nil {
		var st bpf.HttpSocketState
		if t.session.objects.Maps[bpf.HttpMapSockets].Lookup(address, &st) != nil {
			return
		}
		c = t.open(&st.Socket)
		c.owner = st.Owner
	}
	t.fetch(c)
	before := int64(now) - int64(t.stuck)
	t.conn, t.now = c, now
	c.Stuck(before, &t.messages)
	if c.link == nil {
		return
	}
	if other := c.link.conns[1-c.role]; other != nil {
		t.fetch(other)
		t.conn = other
		other.Stuck(before+int64(partnerPatience), &t.messages)
	}
}

// waits is called by messages with a request that is stuck.
func (t *httpTracer) waits(x *http1.Exchange) {
	if t.conn.link == nil {
		t.connect(t.conn)
	}
	h := t.half(t.conn, x)
	h.link = t.conn.link
	h.since = 0
	t.aged = append(t.aged, h)
}

// portList is the value of --port.
type portList []uint16

func (l *portList) String() string { return "" }

func (l *portList) Set(s string) error {
	for _, item := range strings.Split(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(item), 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is no port", item)
		}
		*l = append(*l, uint16(n))
	}
	return nil
}

// nameList is the value of --method.
type nameList []string

func (l *nameList) String() string { return "" }

func (l *nameList) Set(s string) error {
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item == "" {
			return errors.New("a method is empty")
		}
		*l = append(*l, item)
	}
	return nil
}

func (l nameList) has(name string) bool {
	for _, n := range l {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// statusList is the value of --status: ranges, both ends included.
type statusList [][2]int

func (l *statusList) String() string { return "" }

func (l *statusList) Set(s string) error {
	for _, item := range strings.Split(s, ",") {
		item = strings.TrimSpace(item)
		var low, high int
		var err error
		switch a, b, ranged := strings.Cut(item, "-"); {
		case ranged:
			var errHigh error
			low, err = strconv.Atoi(a)
			high, errHigh = strconv.Atoi(b)
			err = cmp.Or(err, errHigh)
		case len(item) == 3 && strings.EqualFold(item[1:], "xx"):
			low, err = strconv.Atoi(item[:1])
			low, high = low*100, low*100+99
		default:
			low, err = strconv.Atoi(item)
			high = low
		}
		if err != nil || low < 100 || high > 999 || low > high {
			return fmt.Errorf("%q is no status, as 500, 5xx or 400-499", item)
		}
		*l = append(*l, [2]int{low, high})
	}
	return nil
}

func (l statusList) has(status int) bool {
	for _, r := range l {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}

// byteSize is the value of --prefix.
type byteSize uint32

func (b *byteSize) String() string {
	if *b >= 1<<10 && *b%(1<<10) == 0 {
		return strconv.Itoa(int(*b>>10)) + "KiB"
	}
	return strconv.Itoa(int(*b))
}

func (b *byteSize) Set(s string) error {
	digits, unit := s, uint64(1)
	for _, suffix := range []string{"KiB", "kib", "KB", "K", "k"} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = d, 1<<10
			break
		}
	}
	digits = strings.TrimSuffix(digits, "B")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n*unit > math.MaxUint32 {
		return fmt.Errorf("%q is no size, as 1KiB", s)
	}
	*b = byteSize(n * unit)
	return nil
}
