// Package traffic reports who moves how many bytes: the kernel's own counts of each
// socket, read at every interval, become rows.
//
//	options.go  the flags, and what a tracer knows
//	plan.go     what is loaded into the kernel
//	state.go    what is remembered of sockets, flows and rows
//	pair.go     the two ends of a connection
//	row.go      bytes → rows
//	socket.go   readings of TCP sockets → bytes of processes
//	flow.go     UDP → bytes of processes
//	read.go     readings of everything
//	page.go     rows → events and pages
//	replay.go   rows of a recording → rows
//	traffic.go  from attaching to the end
//
// It does not know who shows them. Start with [Probe] and tracer.readAll.
package traffic

import (
	"bufio"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Probe is the row of `tracer traffic`.
var Probe = session.Probe{Name: name,
	Short: "bytes per process (or program, service, connection, peer, container, pod), refreshed in place, TCP and UDP",
	Long: `Show how many bytes each process sends and receives by TCP and UDP, or each program,
service, connection, peer, container or pod (--by). Bytes are payload. Each byte counts once,
no matter how it moves (sendfile, splice, io_uring …) or how often it is resent.

TCP bytes are the kernel's own counts of each socket, read at each interval and when
the socket ends. They belong to the process that moves them. If several processes
use one socket, each gets what its own calls moved. Connections that are older than
tracing count from its start. UDP bytes are counted at each call.

On a terminal the table is refreshed in place, and the table of the whole run stays.
Elsewhere, and with --json, each interval has a row for everyone who moved bytes:
the rows add up to the total.

Rows are sorted by what they move now (--sort), then by what they have moved in all;
the closing table by all. PART is the share of that: of a byte of TCP whose both ends
are on one host each end has half. A service is a server's port, by program means by
name; a service's bytes are as its server sees them, each once: as the client sees
them, turned round, where the server is elsewhere.

Not seen: other protocols; connections of the kernel itself (such as NFS) that are
older than tracing; UDP by sendfile on kernels before 6.5. If functions cannot be
hooked, the peers of unconnected UDP sockets are unknown.`,
	Example: `  tracer traffic                         who uses the network
  tracer traffic --by peer --sort rx     which peers send most to this host
  tracer traffic -- curl -sO example.org how much a command moves
  tracer traffic --json --interval 10s | jq -c '[.comm, .tx_bytes, .rx_bytes]'`,
	New: func() session.Tracer { return &tracer{} },
}

// Attached notes the sockets that are there already, of all processes in all
// network namespaces: their bytes count from here on.
func (t *tracer) Attached(h *session.Host) (err error) {
	t.begin(h)
	t.reads = map[string]*kernel.Iterator{}
	for program, of := range map[string]string{
		bpf.TrafficProgTrafficReadSocks:  bpf.TrafficMapSocks,
		bpf.TrafficProgTrafficReadMovers: bpf.TrafficMapMovers,
		bpf.TrafficProgTrafficReadShares: bpf.TrafficMapShares,
		bpf.TrafficProgTrafficReadFlows:  bpf.TrafficMapFlows,
		bpf.TrafficProgTrafficLook:       "",
	} {
		if t.reads[program], err = h.Iterator(program, of); err != nil {
			return err
		}
	}
	// Without hooks of calls nobody tells which sockets move.
	t.canList = h.Tier(callsFeature) != 0
	if err := t.passed(0, 0); err != nil {
		return err
	}
	if err := t.lookAtFiles(); err != nil {
		return err
	}
	t.began = kernel.Now()
	t.last = t.began
	t.next = h.Timer(t.everyInterval)
	t.next.At(t.began + uint64(t.interval))
	return nil
}

// begin readies the tracer for readings.
func (t *tracer) begin(h *session.Host) {
	t.host = h
	t.sockets = map[socketID]*socketState{}
	t.active = map[socketID]*socketState{}
	t.flows = map[bpf.TrafficFlowKey]*flowState{}
	t.pairs = map[pairKey]*pair{}
	t.rows = map[rowKey]*row{}
	t.refused = map[rowKey]session.Refusal{}
	t.buf = bufio.NewReaderSize(nil, 64<<10)
}

// everyInterval shows what was moved since the last time.
func (t *tracer) everyInterval() {
	now := kernel.Now()
	t.next.At(t.due(now))
	t.read(false)
	t.tell(kernel.Now(), false)
}

// due is the end of the interval that is under way.
func (t *tracer) due(now uint64) uint64 {
	length := uint64(t.interval)
	return t.began + ((now-t.began)/length+1)*length
}

func (t *tracer) Detaching() { t.read(true) }

// End shows what was moved since the last interval.
func (t *tracer) End() { t.tell(t.host.Now(), true) }

// Decode takes the last reading of a socket.
func (t *tracer) Decode(record []byte) bool {
	if !kernel.IsRecord(record, unsafe.Sizeof(bpf.TrafficTcpRecord{})) {
		return false
	}
	r := (*bpf.TrafficTcpRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	if r.Socket == 0 || r.Last == 0 {
		return false
	}
	t.socket(r)
	return true
}
