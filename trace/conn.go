package trace

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/option"
)

// What stands in records: the enums of bpf/conn.bpf.c.
const (
	recordConnect = iota + 1
	recordConnectFailed
	recordWaiting
	recordAccept
	recordClose

	roleClient = 1
	roleServer = 2

	stateConnecting = 1

	sideOwn  = 1
	sidePeer = 2
)

var closeReasons = []string{1: event.ReasonClosed, 2: event.ReasonReset, 3: event.ReasonTimeout}

const (
	// firstRetry is when a SYN without an answer is sent again. The kernel
	// tells of that, and of the first SYN only if it must: a connect that
	// waits is noticed without a cost for those that do not.
	firstRetry = time.Second
	// connRing is the size of the ring, in bytes: some 20,000 records, for a
	// reader that is woken when a quarter of it waits.
	connRing = 4 << 20
	// resultArguments is what io_uring_complete hands over at least where it has
	// results as numbers, and not what they are in.
	resultArguments = 5
	// maxWaits bounds what is remembered of connects without an answer.
	maxWaits = 1 << 16
)

// connTracer reports TCP connections.
type connTracer struct {
	ports  []uint16
	failed bool
	stuck  time.Duration
	slow   time.Duration

	preempts bool       // the kernel may preempt programs: more of them have copies
	uring    []string   // programs of which one may fit the kernel's io_uring
	unseen   *link.Iter // counts connections whose end was missed; nil where there are no iterators

	// Connects without an answer yet, until their end.
	waits  map[wait]*waiter
	untold int // of those

	// Reused for every event of its kind.
	connect       event.Connect
	connectFailed event.ConnectFailed
	connectStuck  event.ConnectStuck
	accept        event.Accept
	close         event.Close
}

// wait tells one attempt to connect from the others of its socket.
type wait struct {
	socket, start uint64
}

type waiter struct {
	record bpf.ConnConnRecord // the last one
	told   bool
}

func (t *connTracer) Flags(fs *flag.FlagSet) {
	t.stuck = firstRetry
	fs.Var(option.Ports(&t.ports), "port", "`N[,N…]` only connections from or to one of these ports")
	fs.BoolVar(&t.failed, "failed", false, "only connections that could not be opened or were reset")
	fs.Var(option.Duration(&t.stuck, 0), "stuck", "`1s` report a connect unanswered this long; 0: off")
	fs.Var(option.Duration(&t.slow, 0), "slow", "`50ms` only connects that took at least this long")
}

func (t *connTracer) Validate() error { return nil }

func (t *connTracer) load(s *Session) (*ebpf.CollectionSpec, error) {
	spec, err := object("conn", bpf.LoadConn)
	if err != nil {
		return nil, err
	}
	spec.Maps[bpf.ConnMapEvents].MaxEntries = connRing
	t.waits = map[wait]*waiter{}
	if t.preempts, err = s.preempts(); err != nil {
		return nil, err
	}
	casts, err := s.hasCasts()
	if err != nil {
		return nil, err
	}
	types, err := s.kernelTypes()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	t.uring = []string{bpf.ConnProgConnResultIoUring, bpf.ConnProgConnCqeIoUring}
	if n := arguments(types, "io_uring_complete"); n >= resultArguments {
		t.uring = t.uring[:1]
	} else if n > 0 {
		t.uring = t.uring[1:]
	}
	if t.slow > t.stuck && t.stuck > 0 {
		t.stuck = t.slow
	}
	for _, port := range t.ports {
		spec.Maps[bpf.ConnMapPorts].Contents = append(spec.Maps[bpf.ConnMapPorts].Contents,
			ebpf.MapKV{Key: port, Value: uint8(1)})
	}
	spec.Maps[bpf.ConnMapPorts].MaxEntries = uint32(max(len(t.ports), 1))
	return spec, setKnobs(spec, map[string]any{
		bpf.ConnVarFilterPorts: len(t.ports) > 0,
		bpf.ConnVarOnlyFailed:  t.failed,
		bpf.ConnVarOnlySlow:    t.slow > 0,
		bpf.ConnVarSlowNs:      uint64(t.slow),
		bpf.ConnVarHasCopies:   t.preempts,
		bpf.ConnVarHasCasts:    casts,
		bpf.ConnVarTellFirst:   t.tellsStuck() && t.stuck < firstRetry,
		bpf.ConnVarNrAccept:    int32(unix.SYS_ACCEPT),
		bpf.ConnVarNrAccept4:   int32(unix.SYS_ACCEPT4),
		bpf.ConnVarNrConnect:   int32(unix.SYS_CONNECT),
	})
}

// overlooks reports whether a copy may take for missed by the others what they
// have seen: what they tell of that is too much then. Who saw a step is remembered
// by CPU, and a task may go to another one between two copies.
func (t *connTracer) overlooks() bool { return t.preempts }

func (t *connTracer) tellsStuck() bool { return t.stuck > 0 && !t.failed }

func (t *connTracer) features() []feature {
	// One copy for the packet that interrupts a program, wherever that is; a
	// task that returns from a system call nothing else does so on its CPU.
	states := []string{
		bpf.ConnProgConnSetState, bpf.ConnProgConnSetStateCopy1,
		bpf.ConnProgConnDestroy, bpf.ConnProgConnDestroyCopy1,
	}
	syscalls := []string{bpf.ConnProgConnSysExit}
	if t.preempts {
		states = append(states, bpf.ConnProgConnSetStateCopy2, bpf.ConnProgConnSetStateCopy3, bpf.ConnProgConnDestroyCopy2)
		syscalls = append(syscalls, bpf.ConnProgConnSysExitCopy1, bpf.ConnProgConnSysExitCopy2)
	}
	f := []feature{{name: "connections", doors: []door{{tierTracepoint, states}}}}
	if t.tellsStuck() {
		f = append(f, feature{
			name:    "connects without an answer",
			doors:   []door{{tierTracepoint, []string{bpf.ConnProgConnRetransmit, bpf.ConnProgConnRetransmitCopy1}}},
			without: "connects without an answer are shown at their end only: this kernel does not tell of SYNs that are sent again",
		})
	}
	if t.slow > 0 {
		return f // no accept, and nothing that fails at once, is slow
	}
	// Of the programs of one function the last to be attached runs first.
	ipv4 := []string{
		bpf.ConnProgConnAcceptFentryCopy2, bpf.ConnProgConnAcceptFentryCopy1, bpf.ConnProgConnAcceptFentry,
		bpf.ConnProgConnConnect4FexitCopy2, bpf.ConnProgConnConnect4FexitCopy1, bpf.ConnProgConnConnect4Fexit,
	}
	ipv6 := []string{bpf.ConnProgConnConnect6FexitCopy2, bpf.ConnProgConnConnect6FexitCopy1, bpf.ConnProgConnConnect6Fexit}
	kprobe4 := []string{bpf.ConnProgConnAcceptKprobe, bpf.ConnProgConnConnect4Kprobe, bpf.ConnProgConnConnect4Kretprobe}
	kprobe6 := []string{bpf.ConnProgConnConnect6Kprobe, bpf.ConnProgConnConnect6Kretprobe}
	// Without IPv6 there is no tcp_v6_connect, with an older io_uring no
	// tracepoint that fits, and without types of the kernel's own only the
	// plain tracepoint.
	doors := []door{
		{tierFunction, slices.Concat(ipv4, ipv6)},
		{tierFunction, ipv4},
		{tierKprobe, slices.Concat(kprobe4, kprobe6)},
		{tierKprobe, kprobe4},
	}
	for _, exits := range [][]string{syscalls, {bpf.ConnProgConnSysExitRaw}} {
		for _, p := range t.uring {
			doors = append(doors, door{tierTracepoint, slices.Concat(exits, []string{p})})
		}
		doors = append(doors, door{tierTracepoint, exits})
	}
	return append(f,
		feature{
			name:  "accepts, and connects that fail at once",
			doors: doors,
			misses: map[tier]string{
				tierTracepoint: "immediate failures of fast open and io_uring, and what 32-bit programs accept (and every system call of the host takes a little longer)",
			},
		},
		feature{
			name:    "connections older than tracing",
			doors:   []door{{tierTracepoint, []string{bpf.ConnProgConnOpenBefore, bpf.ConnProgConnEndedUnseen}}},
			without: "connections that are open already stay unknown: this kernel cannot list them",
		})
}

// attached looks for the sockets that are there already: of all processes that
// it can see, in all network namespaces.
func (t *connTracer) attached(s *Session) error {
	p := s.programs[bpf.ConnProgConnOpenBefore]
	if p == nil {
		return nil
	}
	var err error
	t.unseen, err = link.AttachIter(link.IterOptions{
		Program: s.programs[bpf.ConnProgConnEndedUnseen],
		Map:     s.objects.Maps[bpf.ConnMapSocks],
	})
	if err != nil {
		return fmt.Errorf("attach iterator: %w", err)
	}
	s.links = append(s.links, t.unseen)
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return fmt.Errorf("attach iterator: %w", err)
	}
	defer it.Close()
	return runIterator(it)
}

func (t *connTracer) every() time.Duration { return 0 }

func (t *connTracer) report(*Session) {}

// read counts the connections whose end was missed.
func (t *connTracer) read(s *Session, _ bool) {
	if t.unseen == nil {
		return
	}
	if err := runIterator(t.unseen); err != nil {
		s.opts.Notice(&event.Notice{Kind: "warning", Message: "connections could not be looked through: " + err.Error()})
	}
}

// runIterator runs a program once for each object of its kind.
func runIterator(it *link.Iter) error {
	r, err := it.Open()
	if err != nil {
		return fmt.Errorf("open iterator: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("run iterator: %w", err)
	}
	return nil
}

func (t *connTracer) decode(s *Session, record []byte) bool {
	if !isRecord(record, unsafe.Sizeof(bpf.ConnConnRecord{})) {
		return false
	}
	r := (*bpf.ConnConnRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	if r.Conn.Role != roleClient && r.Conn.Role != roleServer {
		return false
	}
	switch r.Type {
	case recordConnect:
		t.answered(r)
		t.connect = event.Connect{
			Common:     t.common(s, event.KindConnect, r.Time, r),
			Connection: connection(r),
			Latency:    since(r.Conn.Start, r.Time),
		}
		s.emit(&t.connect)
	case recordConnectFailed:
		t.answered(r)
		t.connectFailed = event.ConnectFailed{
			Common:     t.common(s, event.KindConnectFailed, r.Time, r),
			Connection: connection(r),
			Latency:    since(r.Conn.Start, r.Time),
			Error:      errnoName(unix.Errno(r.Conn.Error)),
		}
		if t.connectFailed.Latency > 0 {
			t.connectFailed.SYNs = r.Retransmits + 1
		}
		s.emit(&t.connectFailed)
	case recordWaiting:
		t.syn(s, r)
	case recordAccept:
		t.accept = event.Accept{
			Common:     t.common(s, event.KindAccept, r.Time, r),
			Connection: connection(r),
		}
		s.emit(&t.accept)
	case recordClose:
		if r.Reason == 0 || r.Reason >= uint32(len(closeReasons)) {
			return false
		}
		t.close = event.Close{
			Common:      t.common(s, event.KindClose, r.Time, r),
			Connection:  connection(r),
			Duration:    since(r.Conn.Start, r.Time),
			Tx:          r.Tx,
			Rx:          r.Rx,
			Retransmits: r.Retransmits,
			SRTT:        time.Duration(r.SrttUs) * time.Microsecond,
			Reason:      closeReasons[r.Reason],
			ClosedBy:    roleOf(r, r.Conn.ClosedBy),
			ResetBy:     roleOf(r, r.Conn.ResetBy),
			OpenBefore:  r.Conn.Before != 0,
		}
		s.emit(&t.close)
	default:
		return false
	}
	return true
}

func (t *connTracer) common(s *Session, kind string, when uint64, r *bpf.ConnConnRecord) event.Common {
	return event.Common{
		Time: s.clock.wall(when),
		Kind: kind,
		Process: event.Process{
			PID:      r.Conn.Pid,
			Comm:     s.comm(r.Conn.Comm),
			UID:      r.Conn.Uid,
			CgroupID: r.Conn.Cgroup,
		},
	}
}

// connection is which one, and which end.
func connection(r *bpf.ConnConnRecord) event.Connection {
	c := event.Connection{
		Role: event.RoleClient,
		Src:  netip.AddrPortFrom(addr(r.Conn.Src), r.Conn.Sport),
		Dst:  netip.AddrPortFrom(addr(r.Conn.Dst), r.Conn.Dport),
	}
	if r.Conn.Role == roleServer {
		c.Role = event.RoleServer
	}
	// Nothing was sent: no source address was chosen.
	if c.Src.Addr().IsUnspecified() {
		c.Src = netip.AddrPortFrom(netip.Addr{}, r.Conn.Sport)
	}
	return c
}

func addr(b [16]uint8) netip.Addr { return netip.AddrFrom16(b).Unmap() }

// since is the time between two moments of the boot clock; the first one is 0
// if it is unknown.
func since(start, end uint64) time.Duration {
	if start == 0 || end < start {
		return 0
	}
	return time.Duration(end - start)
}

// roleOf is the role of the side of a connection that has done something.
func roleOf(r *bpf.ConnConnRecord, side uint8) string {
	switch {
	case side == 0:
		return ""
	case (side == sideOwn) == (r.Conn.Role == roleClient):
		return event.RoleClient
	}
	return event.RoleServer
}

// syn takes note of a SYN that was sent.
func (t *connTracer) syn(s *Session, r *bpf.ConnConnRecord) {
	key := wait{r.Socket, r.Conn.Start}
	w := t.waits[key]
	if w == nil {
		if len(t.waits) >= maxWaits {
			t.forgetWaits(s)
		}
		w = &waiter{}
		t.waits[key] = w
		t.untold++
	}
	w.record = *r
	if !w.told && since(r.Conn.Start, r.Time) >= t.stuck {
		t.tellStuck(s, w, r.Time)
	}
}

// answered forgets a connect that waits no longer.
func (t *connTracer) answered(r *bpf.ConnConnRecord) {
	key := wait{r.Socket, r.Conn.Start}
	if w := t.waits[key]; w != nil {
		t.forget(key, w)
	}
}

func (t *connTracer) forget(key wait, w *waiter) {
	delete(t.waits, key)
	if !w.told {
		t.untold--
	}
}

// forgetWaits makes room: the end of a connect may have been lost.
func (t *connTracer) forgetWaits(s *Session) {
	for key, w := range t.waits {
		if !t.stillWaits(s, key) {
			t.forget(key, w)
		}
	}
	if len(t.waits) < maxWaits {
		return
	}
	s.stats.lost[lostMapFull] += uint64(t.untold)
	clear(t.waits)
	t.untold = 0
}

// stillWaits asks the kernel: the answer may be on its way.
func (t *connTracer) stillWaits(s *Session, key wait) bool {
	var c bpf.ConnConn
	err := s.objects.Maps[bpf.ConnMapSocks].Lookup(key.socket, &c)
	return err == nil && c.State == stateConnecting && c.Start == key.start
}

func (t *connTracer) tellStuck(s *Session, w *waiter, now uint64) {
	r := &w.record
	w.told = true
	t.untold--
	t.connectStuck = event.ConnectStuck{
		Common:     t.common(s, event.KindConnectStuck, now, r),
		Connection: connection(r),
		Age:        since(r.Conn.Start, now),
		SYNs:       r.Retransmits + 1,
	}
	s.emit(&t.connectStuck)
}

func (t *connTracer) waiting() bool { return t.untold > 0 }

func (t *connTracer) tick(s *Session, now uint64, last bool) {
	for key, w := range t.waits {
		if w.told || since(key.start, now) < t.stuck {
			continue
		}
		if t.stillWaits(s, key) {
			t.tellStuck(s, w, now)
		} else {
			t.forget(key, w)
		}
	}
}
