// Package conn reports TCP connections: the records of bpf/conn.bpf.c become events.
//
//	options.go  the flags, and what a tracer knows
//	plan.go     what is loaded into the kernel
//	event.go    what records and events have in common
//	measure.go  what a socket tells at its end
//	open.go     what was open before tracing
//	overflow.go whose queue was full
//	listeners.go which listeners have dropped something
//	talk.go     how long answers take, of each connection
//	turns.go    such times, by their magnitude
//	summary.go  events become rows of a summary
//	wait.go     connects without an answer
//	replay.go   the same events, of a recording
//	conn.go     from attaching to the end: records become events
//
// It does not know who shows them. Start with [Probe] and tracer.Decode.
package conn

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Probe is the row of `tracer conn`.
var Probe = session.Probe{Name: "conn",
	Short: "every TCP connection: who opened or accepted it, to whom, how long the handshake took, why it failed, what it carried",
	Long: `Show every TCP connection: who opened or accepted it, how long the handshake took,
why it failed, what it carried. If both ends are on this host, both are shown. One
that was open before tracing is shown when it ends.

Times count from the SYN or from the accept. Bytes are payload. A connect without
an answer is reported after --stuck, and again when it ends. ECANCELED means that
the process gave up. IPv4, IPv6, MPTCP (the first subflow), TCP fast open and
io_uring are supported.

A close says for how long no byte had moved when the first side closed (idle), and how
many bytes were never read, which resets the connection. An accept says how long the
connection waited for it; a listener's queue that is full drops whoever comes next, which is told on stderr.

With --open a connection that nobody has accepted is a row of the process that listens.
With --turns it says how often the client has asked on a connection, and how long the
answers took: at the client from the last byte of a request that was sent to the first
byte of the answer that was read, at the server from the last byte that was read to the
first that was sent. No protocol is needed for that; a login or a TLS handshake counts,
too. Where both sides talk at once (pipelining, streams, HTTP/2) it says nothing, and of
MPTCP, either. With --summary connections that are still open are in it.
With --summary each connection counts once, under the last that is known of it.

An accept is seen when the kernel hands the socket to a process. Some kernels do
not allow hooks on functions. There, accepts, and connects that fail before a SYN
is sent, are seen only when system calls return. Then tracer looks at every system
call of the host, and misses 32-bit programs, multishot accepts of io_uring, and
immediate failures of TCP fast open and io_uring.`,
	Example: `  tracer conn                            who talks to whom
  tracer conn --failed                   which connections fail or are reset
  tracer conn --summary                  the same in sums, and how they ended
  tracer conn --summary --turns          and how fast databases answer
  tracer conn --port 5432 --slow 50ms    slow handshakes with a database`,
	New: func() session.Tracer { return &tracer{} },
}

// Attached readies the look for the sockets that are there already: of all processes
// that it can see, in all network namespaces. On a host with very many of them it takes
// long, and so it does not hold up the beginning. What happens to one that it has not
// met yet is told all the same, by the programs.
func (t *tracer) Attached(h *session.Host) (err error) {
	t.begin(h)
	if t.slow == 0 {
		t.queues = h.WatchQueues(t.nameListener)
	}
	if t.summed && h.Loaded(bpf.ConnProgConnReadTalks) {
		if t.talking, err = h.Iterator(bpf.ConnProgConnReadTalks, bpf.ConnMapTalks); err != nil {
			return err
		}
	}
	if !h.Loaded(bpf.ConnProgConnOpenBefore) {
		return h.Set(bpf.ConnVarLooking, uint32(0))
	}
	if t.listening.look, err = h.Iterator(bpf.ConnProgConnListeners, ""); err != nil {
		return err
	}
	if t.unseen, err = h.Iterator(bpf.ConnProgConnEndedUnseen, bpf.ConnMapSocks); err != nil {
		return err
	}
	older, err := h.Iterator(bpf.ConnProgConnOpenBefore, "")
	if err != nil {
		return err
	}
	looks := []*kernel.Iterator{older}
	if t.older {
		queued, err := h.Iterator(bpf.ConnProgConnQueued, bpf.ConnMapQueued)
		if err != nil {
			return err
		}
		looks = append(looks, queued) // what the first one has found
	}
	h.Beside(func(stop <-chan struct{}) error {
		for _, look := range looks {
			if err := look.RunUntil(stop); err != nil {
				return err
			}
		}
		t.listening.begun.Store(kernel.Now())
		return h.Set(bpf.ConnVarLooking, uint32(0))
	})
	return nil
}

// begin readies the tracer for records.
func (t *tracer) begin(h *session.Host) {
	t.host = h
	t.tick = kernel.Tick()
	t.waits = map[wait]*waiter{}
	t.listening.drops = map[uint64]uint32{}
	t.talks = map[wait]*turns{}
	t.due = h.Timer(t.tellWaiting)
	if !t.summed {
		return
	}
	t.sum = newSummary(h.Now())
	t.sum.key = t.order.Key
	t.summing = h.Timer(func() {
		t.summing.In(summaryInterval)
		t.readTalks()
		t.tellSummary(false)
	})
	t.summing.In(summaryInterval)
}

// Detaching counts the connections whose end was missed.
func (t *tracer) Detaching() {
	t.readTalks()
	if t.queues != nil {
		t.queues.Look()
	}
	if t.unseen == nil {
		return
	}
	if err := t.unseen.Run(); err != nil {
		t.host.Notice(&event.Notice{Kind: "warning", Message: "connections could not be looked through: " + err.Error()})
	}
}

func (t *tracer) End() {
	if t.sum != nil {
		t.tellSummary(true)
	}
}

func (t *tracer) Decode(record []byte) bool {
	if kernel.IsRecord(record, unsafe.Sizeof(bpf.ConnOpenRecord{})) {
		return t.decodeOpen(record)
	}
	if kernel.IsRecord(record, unsafe.Sizeof(bpf.ConnTalk{})) {
		return t.decodeTalk(record)
	}
	if kernel.IsRecord(record, unsafe.Sizeof(bpf.ConnListener{})) {
		return t.decodeListener(record)
	}
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
			Common:     t.common(event.KindConnect, r.Time, &r.Conn),
			Connection: connection(&r.Conn),
			Latency:    kernel.Since(r.Conn.Start, r.Time),
		}
		t.tell(&t.connect, wait{r.Socket, r.Conn.Start})
	case bpf.ConnEventConnectFailed:
		t.answered(r)
		t.connectFailed = event.ConnectFailed{
			Common:     t.common(event.KindConnectFailed, r.Time, &r.Conn),
			Connection: connection(&r.Conn),
			Latency:    kernel.Since(r.Conn.Start, r.Time),
			Error:      kernel.Errno(unix.Errno(r.Conn.Error)),
		}
		if t.connectFailed.Latency > 0 {
			t.connectFailed.SYNs = r.Retransmits + 1
		}
		t.tell(&t.connectFailed, wait{r.Socket, r.Conn.Start})
	case bpf.ConnEventConnectWaits:
		t.syn(r)
	case bpf.ConnEventAccept:
		t.accept = event.Accept{
			Common:     t.common(event.KindAccept, r.Time, &r.Conn),
			Connection: connection(&r.Conn),
			Queued:     time.Duration(r.Queued),
			Backlog:    r.Backlog,
			BacklogMax: r.BacklogMax,
			SYNACKs:    r.Retransmits,
		}
		if t.queues != nil && r.BacklogMax > 0 && r.Backlog >= r.BacklogMax {
			t.queues.Watch(0, r.Conn.Pid) // its queue is full: who comes next is dropped
		}
		t.tell(&t.accept, wait{r.Socket, r.Conn.Start})
	case bpf.ConnEventClose:
		if r.Reason == 0 || int(r.Reason) >= len(closeReasons) {
			return false
		}
		t.close = event.Close{
			Common:      t.common(event.KindClose, r.Time, &r.Conn),
			Connection:  connection(&r.Conn),
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
		t.measure(&t.close, r)
		key := wait{r.Socket, r.Conn.Start}
		turns := t.turned(&t.close, key)
		if t.sum == nil {
			t.host.Emit(&t.close)
		} else if t.host.Take(&t.close) {
			t.sum.closed(&t.close, key, turns)
		}
	default:
		return false
	}
	return true
}
