// Package conn reports TCP connections: the records of bpf/conn.bpf.c become events.
//
// It does not know who shows them. Start with [Probe] and tracer.Decode.
package conn

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

var closeReasons = []string{
	bpf.ConnReasonClosed:   event.ReasonClosed,
	bpf.ConnReasonReset:    event.ReasonReset,
	bpf.ConnReasonTimedOut: event.ReasonTimeout,
}

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

// Probe is the row of `tracer conn`.
var Probe = session.Probe{Name: "conn",
	Short: "every TCP connection: who opened or accepted it, to whom, how long the handshake took, why it failed, what it carried",
	Long: `Every TCP connection: who opened or accepted it, how long the handshake took, why
it failed, and at its end what it carried. Both ends are shown where both are on
this host. Those that were open before tracing began are shown when they end.

Times count from the SYN, or from accept; bytes are payload. A connect without an
answer is shown after --stuck, and again at its end; ECANCELED means that the
process gave up. IPv4, IPv6, MPTCP (its first subflow), fast open and io_uring.

Accepts are seen where the kernel hands a socket to a process. A kernel that
forbids to hook functions tells of them, and of connects that fail before a SYN
is sent, only where system calls return: that looks at every system call of the
host, and misses 32-bit programs, multishot accepts of io_uring, and immediate
failures of fast open and io_uring.`,
	Example: `  tracer conn                            who talks to whom
  tracer conn --failed                   what cannot be opened, or is reset
  tracer conn --port 5432 --slow 50ms    slow handshakes with a database
  tracer conn -- curl -s example.org     the connections of a command`,
	New: func() session.Tracer { return &tracer{} },
}

// tracer reports TCP connections.
type tracer struct {
	ports  []uint16
	failed bool
	stuck  time.Duration
	slow   time.Duration

	host   *session.Host
	uring  []string         // programs of which one may fit the kernel's io_uring
	unseen *kernel.Iterator // counts connections whose end was missed; nil where there are no iterators

	// Connects without an answer yet, until their end.
	waits  map[wait]*waiter
	untold int            // of those
	due    *session.Timer // the next of them may be told

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

func (t *tracer) Flags(fs *flag.FlagSet) {
	fs.Func("port", "`N[,N…]` either port is one of these", func(s string) error {
		for _, field := range strings.Split(s, ",") {
			port, err := strconv.ParseUint(field, 10, 16)
			if err != nil || port == 0 {
				return fmt.Errorf("%q is no port", field)
			}
			t.ports = append(t.ports, uint16(port))
		}
		return nil
	})
	fs.BoolVar(&t.failed, "failed", false, "only connections that could not be opened or were reset")
	fs.DurationVar(&t.stuck, "stuck", firstRetry, "`1s` report a connect that waits this long; 0: off")
	fs.DurationVar(&t.slow, "slow", 0, "`50ms` only connects that took at least this long")
}

func (t *tracer) Validate() error {
	switch {
	case t.stuck < 0:
		return errors.New("--stuck: must not be less than 0")
	case t.slow < 0:
		return errors.New("--slow: must not be less than 0")
	}
	return nil
}

func (t *tracer) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	t.uring = []string{bpf.ConnProgConnResultIoUring, bpf.ConnProgConnCqeIoUring}
	if n := types.Arguments("io_uring_complete"); n >= resultArguments {
		t.uring = t.uring[:1]
	} else if n > 0 {
		t.uring = t.uring[1:]
	}
	if t.slow > t.stuck && t.stuck > 0 {
		t.stuck = t.slow
	}
	ports := kernel.Size{Entries: uint32(max(len(t.ports), 1))}
	for _, port := range t.ports {
		ports.Keys = append(ports.Keys, port)
	}
	return kernel.Plan{
		Name: Probe.Name, Load: bpf.LoadConn, Ring: bpf.ConnMapEvents,
		Maps: map[string]kernel.Size{
			bpf.ConnMapEvents: {Entries: connRing},
			bpf.ConnMapSocks:  {Entries: opts.Limits.Socks},
			bpf.ConnMapPorts:  ports,
		},
		Knobs: map[string]any{
			bpf.ConnVarFilterPorts: len(t.ports) > 0,
			bpf.ConnVarOnlyFailed:  t.failed,
			bpf.ConnVarOnlySlow:    t.slow > 0,
			bpf.ConnVarSlowNs:      uint64(t.slow),
			bpf.ConnVarHasCasts:    types.Casts(),
			bpf.ConnVarTellFirst:   t.tellsStuck() && t.stuck < firstRetry,
			bpf.ConnVarNrAccept:    int32(unix.SYS_ACCEPT),
			bpf.ConnVarNrAccept4:   int32(unix.SYS_ACCEPT4),
			bpf.ConnVarNrConnect:   int32(unix.SYS_CONNECT),
		},
		Features: t.features(),
	}, nil
}

func (t *tracer) tellsStuck() bool { return t.stuck > 0 && !t.failed }

func (t *tracer) features() []kernel.Feature {
	states := []string{bpf.ConnProgConnSetState, bpf.ConnProgConnDestroy}
	f := []kernel.Feature{{Name: "connections", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: states}}}}
	if t.tellsStuck() {
		f = append(f, kernel.Feature{
			Name:    "connects without an answer",
			Doors:   []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.ConnProgConnRetransmit}}},
			Without: "connects without an answer are shown at their end only: this kernel does not tell of SYNs that are sent again",
		})
	}
	if t.slow > 0 {
		return f // no accept, and nothing that fails at once, is slow
	}
	ipv4 := []string{bpf.ConnProgConnAcceptFentry, bpf.ConnProgConnConnect4Fexit}
	ipv6 := []string{bpf.ConnProgConnConnect6Fexit}
	kprobe4 := []string{bpf.ConnProgConnAcceptKprobe, bpf.ConnProgConnConnect4Kprobe, bpf.ConnProgConnConnect4Kretprobe}
	kprobe6 := []string{bpf.ConnProgConnConnect6Kprobe, bpf.ConnProgConnConnect6Kretprobe}
	// Without IPv6 there is no tcp_v6_connect, with an older io_uring no
	// tracepoint that fits, and without types of the kernel's own only the
	// plain tracepoint.
	doors := []kernel.Door{
		{Tier: kernel.Function, Programs: slices.Concat(ipv4, ipv6)},
		{Tier: kernel.Function, Programs: ipv4},
		{Tier: kernel.Kprobe, Programs: slices.Concat(kprobe4, kprobe6)},
		{Tier: kernel.Kprobe, Programs: kprobe4},
	}
	for _, exits := range [][]string{{bpf.ConnProgConnSysExit}, {bpf.ConnProgConnSysExitRaw}} {
		for _, p := range t.uring {
			doors = append(doors, kernel.Door{Tier: kernel.Tracepoint, Programs: slices.Concat(exits, []string{p})})
		}
		doors = append(doors, kernel.Door{Tier: kernel.Tracepoint, Programs: exits})
	}
	return append(f,
		kernel.Feature{
			Name:  "accepts, and connects that fail at once",
			Doors: doors,
			Misses: map[kernel.Tier]string{
				kernel.Tracepoint: "immediate failures of fast open and io_uring, and what 32-bit programs accept (and every system call of the host takes a little longer)",
			},
		},
		kernel.Feature{
			Name:    "connections older than tracing",
			Doors:   []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.ConnProgConnOpenBefore, bpf.ConnProgConnEndedUnseen}}},
			Without: "connections that are open already stay unknown: this kernel cannot list them",
		})
}

// Attached looks for the sockets that are there already: of all processes that
// it can see, in all network namespaces.
func (t *tracer) Attached(h *session.Host) (err error) {
	t.host = h
	t.waits = map[wait]*waiter{}
	t.due = h.Timer(t.tellWaiting)
	if !h.Loaded(bpf.ConnProgConnOpenBefore) {
		return nil
	}
	if t.unseen, err = h.Iterator(bpf.ConnProgConnEndedUnseen, bpf.ConnMapSocks); err != nil {
		return err
	}
	older, err := h.Iterator(bpf.ConnProgConnOpenBefore, "")
	if err != nil {
		return err
	}
	return older.Run()
}

// Detaching counts the connections whose end was missed.
func (t *tracer) Detaching() {
	if t.unseen == nil {
		return
	}
	if err := t.unseen.Run(); err != nil {
		t.host.Notice(&event.Notice{Kind: "warning", Message: "connections could not be looked through: " + err.Error()})
	}
}

func (t *tracer) End() {}

func (t *tracer) Decode(record []byte) bool {
	if !kernel.IsRecord(record, unsafe.Sizeof(bpf.ConnConnRecord{})) {
		return false
	}
	r := (*bpf.ConnConnRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	if r.Conn.Role != bpf.ConnRoleClient && r.Conn.Role != bpf.ConnRoleServer {
		return false
	}
	switch r.Type {
	case bpf.ConnEventConnect:
		t.answered(r)
		t.connect = event.Connect{
			Common:     t.common(event.KindConnect, r.Time, r),
			Connection: connection(r),
			Latency:    kernel.Since(r.Conn.Start, r.Time),
		}
		t.host.Emit(&t.connect)
	case bpf.ConnEventConnectFailed:
		t.answered(r)
		t.connectFailed = event.ConnectFailed{
			Common:     t.common(event.KindConnectFailed, r.Time, r),
			Connection: connection(r),
			Latency:    kernel.Since(r.Conn.Start, r.Time),
			Error:      kernel.Errno(unix.Errno(r.Conn.Error)),
		}
		if t.connectFailed.Latency > 0 {
			t.connectFailed.SYNs = r.Retransmits + 1
		}
		t.host.Emit(&t.connectFailed)
	case bpf.ConnEventConnectWaits:
		t.syn(r)
	case bpf.ConnEventAccept:
		t.accept = event.Accept{
			Common:     t.common(event.KindAccept, r.Time, r),
			Connection: connection(r),
		}
		t.host.Emit(&t.accept)
	case bpf.ConnEventClose:
		if r.Reason == 0 || int(r.Reason) >= len(closeReasons) {
			return false
		}
		t.close = event.Close{
			Common:      t.common(event.KindClose, r.Time, r),
			Connection:  connection(r),
			Duration:    kernel.Since(r.Conn.Start, r.Time),
			Tx:          r.Tx,
			Rx:          r.Rx,
			Retransmits: r.Retransmits,
			SRTT:        time.Duration(r.SrttUs) * time.Microsecond,
			Reason:      closeReasons[r.Reason],
			ClosedBy:    roleOf(r, r.Conn.ClosedBy),
			ResetBy:     roleOf(r, r.Conn.ResetBy),
			OpenBefore:  r.Conn.Before != 0,
		}
		t.host.Emit(&t.close)
	default:
		return false
	}
	return true
}

func (t *tracer) common(kind string, when uint64, r *bpf.ConnConnRecord) event.Common {
	return event.Common{
		Time: t.host.Clock.Wall(when),
		Kind: kind,
		Process: event.Process{
			PID:      r.Conn.Pid,
			Comm:     t.host.Comm(r.Conn.Comm),
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
	if r.Conn.Role == bpf.ConnRoleServer {
		c.Role = event.RoleServer
	}
	// Nothing was sent: no source address was chosen.
	if c.Src.Addr().IsUnspecified() {
		c.Src = netip.AddrPortFrom(netip.Addr{}, r.Conn.Sport)
	}
	return c
}

func addr(b [16]uint8) netip.Addr { return netip.AddrFrom16(b).Unmap() }

// roleOf is the role of the side of a connection that has done something.
func roleOf(r *bpf.ConnConnRecord, side bpf.ConnSide) string {
	switch {
	case side == 0:
		return ""
	case (side == bpf.ConnSideOwn) == (r.Conn.Role == bpf.ConnRoleClient):
		return event.RoleClient
	}
	return event.RoleServer
}

// syn takes note of a SYN that was sent.
func (t *tracer) syn(r *bpf.ConnConnRecord) {
	key := wait{r.Socket, r.Conn.Start}
	w := t.waits[key]
	if w == nil {
		if len(t.waits) >= maxWaits {
			t.forgetWaits()
		}
		w = &waiter{}
		t.waits[key] = w
		t.untold++
	}
	w.record = *r
	switch {
	case w.told, r.Conn.Start == 0:
	case kernel.Since(r.Conn.Start, r.Time) >= t.stuck:
		t.tellStuck(w, r.Time)
	default:
		t.due.At(r.Conn.Start + uint64(t.stuck))
	}
}

// answered forgets a connect that waits no longer.
func (t *tracer) answered(r *bpf.ConnConnRecord) {
	key := wait{r.Socket, r.Conn.Start}
	if w := t.waits[key]; w != nil {
		t.forget(key, w)
	}
}

func (t *tracer) forget(key wait, w *waiter) {
	delete(t.waits, key)
	if !w.told {
		t.untold--
	}
}

// forgetWaits makes room: the end of a connect may have been lost.
func (t *tracer) forgetWaits() {
	for key, w := range t.waits {
		if !t.stillWaits(key) {
			t.forget(key, w)
		}
	}
	if len(t.waits) < maxWaits {
		return
	}
	t.host.Ledger.Lost(account.MapFull, uint64(t.untold))
	clear(t.waits)
	t.untold = 0
}

// stillWaits asks the kernel: the answer may be on its way.
func (t *tracer) stillWaits(key wait) bool {
	var c bpf.ConnConn
	err := t.host.Map(bpf.ConnMapSocks).Lookup(key.socket, &c)
	return err == nil && c.State == bpf.ConnStateConnecting && c.Start == key.start
}

func (t *tracer) tellStuck(w *waiter, now uint64) {
	r := &w.record
	w.told = true
	t.untold--
	t.connectStuck = event.ConnectStuck{
		Common:     t.common(event.KindConnectStuck, now, r),
		Connection: connection(r),
		Age:        kernel.Since(r.Conn.Start, now),
		SYNs:       r.Retransmits + 1,
	}
	t.host.Emit(&t.connectStuck)
}

// tellWaiting tells of connects that have waited for long enough.
func (t *tracer) tellWaiting() {
	now := t.host.Horizon()
	next := uint64(0)
	for key, w := range t.waits {
		switch due := key.start + uint64(t.stuck); {
		case w.told, key.start == 0: // since when is not known
		case now < due:
			if next == 0 || due < next {
				next = due
			}
		case t.stillWaits(key):
			t.tellStuck(w, now)
		default:
			t.forget(key, w)
		}
	}
	if next > 0 {
		t.due.At(next)
	}
}
