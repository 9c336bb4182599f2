// Package traffic reports who moves how many bytes: the kernel's own counts of each
// socket, read at every interval, become rows.
//
// It does not know who shows them. Start with [Probe] and tracer.readAll.
package traffic

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// What a row of traffic is: values of --by.
const (
	byProcess    = "process"
	byConnection = "connection"
	byPeer       = "peer"
	byContainer  = "container"
	byPod        = "pod"
)

const (
	// trafficRing is the size of the ring, in bytes: the last readings of some
	// 20,000 sockets, for a reader that is woken when a quarter of it waits.
	trafficRing = 4 << 20
	// leastInterval is how often sockets are read at most.
	leastInterval = 10 * time.Millisecond
	// flowIdle is after how long a UDP row of the kernel's side is forgotten,
	// and after how long if the map is half full: each look-up of a name, say,
	// has a port of its own.
	flowIdle, flowIdleFull = time.Minute, 100 * time.Millisecond
	// maxRows bounds what is remembered of rows: of the idle ones, the least
	// are counted together.
	maxRows = 1 << 16
)

// Probe is the row of `tracer traffic`.
var Probe = session.Probe{Name: "traffic",
	Short: "bytes per process (or connection, peer, container, pod), refreshed in place, TCP and UDP",
	Long: `Who moves how many bytes by TCP and UDP, in which direction: per process, or as
--by says. Payload, each byte once, however it is moved (sendfile, splice,
io_uring …) and however often it is sent again.

TCP bytes are the kernel's own counts of each socket, read at every interval and
when a socket ends. They belong to the process that moves them: where several
processes use one socket, to each what its calls have moved. Connections that
are older than tracing count from its start. UDP is counted call by call.

The table is refreshed in place on a terminal; the last one, of the whole run,
stays. Elsewhere, and with --json, each interval has a row for each that moved
bytes: the sums of all rows are the totals.

Not seen: other protocols; connections of the kernel itself (NFS …) that are
older than tracing; on kernels before 6.5 UDP by sendfile. Where functions cannot
be hooked the peers of UDP sockets that are not connected stay unknown.`,
	Example: `  tracer traffic                         who uses the network
  tracer traffic --by peer --sort rx     whom from
  tracer traffic -- curl -sO example.org what a command moves
  tracer traffic --json --interval 10s | jq -c '[.comm, .tx_bytes, .rx_bytes]'`,
	New: func() session.Tracer { return &tracer{} },
}

// tracer reports who moves how many bytes.
type tracer struct {
	by       string
	sortBy   string
	interval time.Duration
	top      int

	recvArgs int // number of parameters of tcp_recvmsg

	host  *session.Host
	next  *session.Timer
	reads map[string]*kernel.Iterator // by program
	look  uint32                      // the last one at all files
	buf   *bufio.Reader

	sockets map[socketID]*socketState
	flows   map[bpf.TrafficFlowKey]*flowState
	rows    map[rowKey]*row
	folded  fold
	refused map[rowKey]session.Refusal // rows of this interval that filters leave out
	ended   []bpf.TrafficShareKey      // shares of sockets that are gone

	began, last uint64 // of all, and of this interval: boot clock
}

// socketID tells a socket from another that has its address later.
type socketID struct {
	address, born uint64
}

// process tells a process from another that has its id later.
type process struct {
	start uint64
	pid   uint32
}

// socketState is what is known of a TCP socket.
type socketState struct {
	record bpf.TrafficTcpRecord // the last one
	given  moved                // to rows
	owned  moved                // of that, to the present owner, since it is shared
	shares map[process]*share   // of the others and, from then on, the owner
	looked bool                 // at all files, in vain
}

// moved is bytes in both directions.
type moved struct {
	tx, rx uint64
}

// share is what one process has moved of a socket that several do.
type share struct {
	known bpf.TrafficShare
	given moved
}

type flowState struct {
	told moved
	seen uint64 // when it was told last, boot clock
}

// rowKey is what a row is about; what does not matter is zero.
type rowKey struct {
	process
	place  string // id of a container, uid of a pod; empty for what runs in none
	socket socketID
	peer   netip.Addr
	conn   event.Connection
}

type row struct {
	event.Traffic
	tcp, udp bool // in this interval
	allTCP   bool // ever
	allUDP   bool
	newest   uint64 // when the socket was noted that told comm
}

// fold is what is left of rows that are forgotten.
type fold struct {
	rows int
	moved
}

func (t *tracer) Flags(fs *flag.FlagSet) {
	fs.StringVar(&t.by, "by", byProcess, "`process|connection|peer|container|pod` what a row is")
	fs.DurationVar(&t.interval, "interval", time.Second, "`1s` refresh every")
	fs.IntVar(&t.top, "top", 0, "`N` rows shown; 0: what fits the terminal, else all")
	fs.StringVar(&t.sortBy, "sort", "total", "`tx|rx|total` what rows are sorted by")
}

func (t *tracer) Validate() error {
	switch {
	case !slices.Contains([]string{byProcess, byConnection, byPeer, byContainer, byPod}, t.by):
		return fmt.Errorf("--by: %q is none of process, connection, peer, container, pod", t.by)
	case !slices.Contains([]string{"tx", "rx", "total"}, t.sortBy):
		return fmt.Errorf("--sort: %q is none of tx, rx, total", t.sortBy)
	case t.interval < leastInterval:
		return fmt.Errorf("--interval: must be at least %v", leastInterval)
	case t.top < 0:
		return errors.New("--top: must not be less than 0")
	}
	return nil
}

// View names the view of rows of this kind.
func (t *tracer) View() string {
	if t.by == byProcess {
		return "traffic"
	}
	return "traffic by " + t.by
}

func (t *tracer) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	t.recvArgs = types.Parameters("tcp_recvmsg")
	flags := uint32(3)
	if t.recvArgs == 6 {
		flags = 4
	}
	flows := opts.Limits.Socks
	if flows == 0 && t.by != byConnection && t.by != byPeer {
		flows = 8192 // a process each
	}
	return kernel.Plan{
		Name: Probe.Name, Load: bpf.LoadTraffic, Ring: bpf.TrafficMapEvents,
		Maps: map[string]kernel.Size{
			bpf.TrafficMapEvents: {Entries: trafficRing},
			bpf.TrafficMapFlows:  {Entries: flows},
			bpf.TrafficMapSocks:  {Entries: opts.Limits.Socks},
			bpf.TrafficMapShares: {Entries: opts.Limits.Socks},
		},
		Knobs: map[string]any{
			bpf.TrafficVarByConnection: t.by == byConnection,
			bpf.TrafficVarByPeer:       t.by == byPeer,
			bpf.TrafficVarRecvFlagsArg: flags,
		},
		Features: t.features(),
	}, nil
}

func (t *tracer) features() []kernel.Feature {
	calls := []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.TrafficProgTrafficSendLength, bpf.TrafficProgTrafficRecvLength}}}
	calls = append(calls, t.functions()...)
	if t.by == byConnection || t.by == byPeer {
		// Functions know whom a UDP socket speaks to that is not connected.
		calls = append(calls[1:], calls[0])
	}
	states := []string{bpf.TrafficProgTrafficSetState, bpf.TrafficProgTrafficDestroy}
	return []kernel.Feature{
		{Name: "TCP sockets", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: states}}},
		{Name: "readings of sockets", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{
			bpf.TrafficProgTrafficReadSocks, bpf.TrafficProgTrafficReadShares,
			bpf.TrafficProgTrafficReadFlows, bpf.TrafficProgTrafficLook,
		}}}},
		{
			Name:    "UDP, and who uses a socket of several processes",
			Doors:   calls,
			Without: "UDP is left out, and the traffic of a TCP socket that several processes use is that of one of them: this kernel tells neither",
		},
	}
}

// functions are the doors to calls by hooks of functions. Not every kernel has
// IPv6, nor functions of their own for sendfile.
func (t *tracer) functions() []kernel.Door {
	var doors []kernel.Door
	recvmsg := map[int]string{
		4: bpf.TrafficProgTrafficTcpRecvmsgFexit4,
		5: bpf.TrafficProgTrafficTcpRecvmsgFexit5,
		6: bpf.TrafficProgTrafficTcpRecvmsgFexit6,
	}[t.recvArgs]
	if recvmsg != "" {
		base := []string{
			bpf.TrafficProgTrafficUdpSendmsgFexit, bpf.TrafficProgTrafficUdpConsumeFentry,
			bpf.TrafficProgTrafficTcpSendmsgFexit, recvmsg, bpf.TrafficProgTrafficTcpSpliceReadFexit,
		}
		ipv6 := []string{bpf.TrafficProgTrafficUdpv6SendmsgFexit}
		page := []string{bpf.TrafficProgTrafficTcpSendpageFexit}
		doors = append(doors,
			kernel.Door{Tier: kernel.Function, Programs: slices.Concat(base, ipv6, page)},
			kernel.Door{Tier: kernel.Function, Programs: slices.Concat(base, ipv6)},
			kernel.Door{Tier: kernel.Function, Programs: slices.Concat(base, page)},
			kernel.Door{Tier: kernel.Function, Programs: base},
		)
	}
	base := []string{
		bpf.TrafficProgTrafficTcpSendmsgKprobe, bpf.TrafficProgTrafficTcpSendmsgKretprobe,
		bpf.TrafficProgTrafficTcpRecvmsgKprobe, bpf.TrafficProgTrafficTcpRecvmsgKretprobe,
		bpf.TrafficProgTrafficUdpSendmsgKprobe, bpf.TrafficProgTrafficUdpSendmsgKretprobe,
		bpf.TrafficProgTrafficUdpConsumeKprobe,
	}
	ipv6 := []string{bpf.TrafficProgTrafficUdpv6SendmsgKprobe, bpf.TrafficProgTrafficUdpv6SendmsgKretprobe}
	return append(doors, kernel.Door{Tier: kernel.Kprobe, Programs: slices.Concat(base, ipv6)}, kernel.Door{Tier: kernel.Kprobe, Programs: base})
}

// Attached notes the sockets that are there already, of all processes in all
// network namespaces: their bytes count from here on.
func (t *tracer) Attached(h *session.Host) (err error) {
	t.host = h
	t.sockets = map[socketID]*socketState{}
	t.flows = map[bpf.TrafficFlowKey]*flowState{}
	t.rows = map[rowKey]*row{}
	t.refused = map[rowKey]session.Refusal{}
	t.buf = bufio.NewReaderSize(nil, 64<<10)
	t.reads = map[string]*kernel.Iterator{}
	for program, of := range map[string]string{
		bpf.TrafficProgTrafficReadSocks:  bpf.TrafficMapSocks,
		bpf.TrafficProgTrafficReadShares: bpf.TrafficMapShares,
		bpf.TrafficProgTrafficReadFlows:  bpf.TrafficMapFlows,
		bpf.TrafficProgTrafficLook:       "",
	} {
		if t.reads[program], err = h.Iterator(program, of); err != nil {
			return err
		}
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

// lookAtFiles finds out who holds sockets of which nobody has moved bytes yet.
func (t *tracer) lookAtFiles() error {
	t.look++
	if err := t.host.Set(bpf.TrafficVarLook, t.look); err != nil {
		return err
	}
	return t.reads[bpf.TrafficProgTrafficLook].Run()
}

// iterate runs an iterator. It calls f with each record that comes, in r.
func iterate[T any](t *tracer, program string, r *T, f func()) error {
	return t.reads[program].Read(func(from io.Reader) error {
		t.buf.Reset(from)
		return kernel.Records(t.buf, r, f)
	})
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
func (t *tracer) End() { t.tell(kernel.Now(), true) }

// read takes a reading of everything. What a reading lacks the next one tells:
// the last one must not fail.
func (t *tracer) read(last bool) {
	err := t.readAll(last)
	if err != nil && last {
		err = t.readAll(last)
	}
	if err != nil {
		t.host.Ledger.Lost(account.ReadingFailed, 1)
		t.host.Notice(&event.Notice{Kind: "warning", Message: "sockets could not be read: " + err.Error()})
	}
}

func (t *tracer) readAll(last bool) error {
	if last {
		if err := t.host.Set(bpf.TrafficVarTellAll, uint32(1)); err != nil {
			return err
		}
	}
	if err := t.readSockets(); err != nil {
		return err
	}
	unknown := t.ownersAreUnknown(last)
	if unknown {
		if err := t.lookAtFiles(); err != nil {
			return err
		}
	}
	// Once more before the end, too: an end that is just coming is a byte for a
	// moment, and what was too busy to be read is given another chance.
	if unknown || last {
		if err := t.readSockets(); err != nil {
			return err
		}
	}
	t.forgetShares()
	if t.anyIsShared() {
		var share bpf.TrafficShareRecord
		if err := iterate(t, bpf.TrafficProgTrafficReadShares, &share, func() { t.shared(&share) }); err != nil {
			return err
		}
	}
	now := kernel.Now()
	var flow bpf.TrafficFlowRecord
	err := iterate(t, bpf.TrafficProgTrafficReadFlows, &flow, func() { t.flow(&flow, now) })
	t.forgetFlows(now)
	return err
}

func (t *tracer) readSockets() error {
	var r bpf.TrafficTcpRecord
	return iterate(t, bpf.TrafficProgTrafficReadSocks, &r, func() { t.socket(&r) })
}

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

// socket takes over a reading of a TCP socket.
func (t *tracer) socket(r *bpf.TrafficTcpRecord) {
	id := socketID{r.Socket, r.Tcp.Born}
	st := t.sockets[id]
	switch {
	case st == nil:
		st = &socketState{}
		t.sockets[id] = st
	case st.record.Last != 0:
		return
	}
	if st.shares == nil && r.Tcp.Shared != 0 {
		st.shares = map[process]*share{}
	}
	st.record = *r
}

// shared takes over what one process has moved of a socket.
func (t *tracer) shared(r *bpf.TrafficShareRecord) {
	st := t.sockets[socketID{r.Key.Socket, r.Key.Born}]
	if st == nil {
		return // nothing has arrived yet of what was written
	}
	if st.shares == nil {
		st.shares = map[process]*share{}
	}
	p := process{r.Share.Party.Start, r.Share.Party.Pid}
	sh := st.shares[p]
	if sh == nil {
		sh = &share{}
		st.shares[p] = sh
	}
	sh.known = r.Share
}

func (t *tracer) anyIsShared() bool {
	for _, st := range t.sockets {
		if st.record.Tcp.Shared != 0 {
			return true
		}
	}
	return false
}

// ownersAreUnknown reports whether there are bytes of which a look at all files
// may tell whose they are.
func (t *tracer) ownersAreUnknown(last bool) bool {
	unknown := false
	for _, st := range t.sockets {
		if !st.looked && !st.ownerKnown(t.look) && st.left(last) != (moved{}) {
			st.looked = true
			unknown = true
		}
	}
	return unknown
}

// ownerKnown reports whether the process that is told as the owner has moved
// bytes, or is the only one that could have.
func (st *socketState) ownerKnown(look uint32) bool {
	r := &st.record.Tcp
	return r.Owner.Pid != 0 && (r.Sure != 0 || st.record.Last != 0 || r.Several == 0 && r.Look == look)
}

// left is what is not in any row yet. What has come and no process has read is
// not theirs, until it is known that nobody will.
func (st *socketState) left(final bool) moved {
	tx, rx := st.record.Tcp.Tx, st.record.Tcp.Rx
	if !final {
		rx -= min(rx, uint64(st.record.Unread))
	}
	return moved{tx - min(st.given.tx, tx), rx - min(st.given.rx, rx)}
}

// distribute passes what a socket has moved on to the rows of the processes
// that did. No byte is given twice, and after the last reading none is left.
func (t *tracer) distribute(id socketID, st *socketState, final bool) {
	left := st.left(final)
	if left == (moved{}) {
		return
	}
	r := &st.record.Tcp
	owner := process{r.Owner.Start, r.Owner.Pid}
	give := func(p *bpf.TrafficParty, wanted bool, m moved) {
		left.tx -= m.tx
		left.rx -= m.rx
		st.given.tx += m.tx
		st.given.rx += m.rx
		if wanted && m != (moved{}) {
			t.add(p, t.connectionOf(r), id, event.ProtoTCP, r.Born, m)
		}
	}
	for p, sh := range st.shares {
		if p == owner {
			continue
		}
		m := moved{
			min(sh.known.Tx-sh.given.tx, left.tx),
			min(sh.known.Rx-sh.given.rx, left.rx),
		}
		sh.given.tx += m.tx
		sh.given.rx += m.rx
		give(&sh.known.Party, sh.known.Wanted != 0, m)
	}
	switch {
	case final:
	case r.Shared != 0:
		// What is neither the others' nor counted as the owner's is still
		// on its way, or some call's that has not returned.
		own := moved{r.OwnTx, r.OwnRx}
		if sh := st.shares[owner]; sh != nil {
			own.tx += sh.known.Tx
			own.rx += sh.known.Rx
		}
		left.tx = min(left.tx, own.tx-min(own.tx, st.owned.tx))
		left.rx = min(left.rx, own.rx-min(own.rx, st.owned.rx))
	case !st.ownerKnown(t.look) && !(st.looked && r.Owner.Pid != 0 && r.Several == 0):
		return
	}
	st.owned.tx += left.tx
	st.owned.rx += left.rx
	give(&r.Owner, r.Wanted != 0, left)
}

// connectionOf is the connection of a socket.
func (t *tracer) connectionOf(r *bpf.TrafficTcp) event.Connection {
	return bothEnds(r.Role == bpf.TrafficRoleClient, r.Local, r.Lport, r.Remote, r.Rport)
}

// bothEnds are both ends of a socket, in the order of who called.
func bothEnds(client bool, local [16]uint8, lport uint16, remote [16]uint8, rport uint16) event.Connection {
	l, r := endpoint(local, lport), endpoint(remote, rport)
	if client {
		return event.Connection{Role: event.RoleClient, Src: l, Dst: r}
	}
	return event.Connection{Role: event.RoleServer, Src: r, Dst: l}
}

// endpoint leaves out what is unknown.
func endpoint(b [16]uint8, port uint16) netip.AddrPort {
	a := netip.AddrFrom16(b).Unmap()
	if a.IsUnspecified() {
		a = netip.Addr{}
	}
	return netip.AddrPortFrom(a, port)
}

// flow takes over what a process has moved by UDP.
func (t *tracer) flow(r *bpf.TrafficFlowRecord, now uint64) {
	st := t.flows[r.Key]
	if st == nil {
		st = &flowState{}
		t.flows[r.Key] = st
	}
	m := moved{r.Flow.Tx - st.told.tx, r.Flow.Rx - st.told.rx}
	if m == (moved{}) {
		return
	}
	st.told, st.seen = moved{r.Flow.Tx, r.Flow.Rx}, now
	k := &r.Key
	t.add(&bpf.TrafficParty{
		Start: k.Start, Pid: k.Pid, Cgroup: r.Flow.Cgroup, Uid: r.Flow.Uid, Comm: r.Flow.Comm,
	}, bothEnds(r.Flow.Role == bpf.TrafficRoleClient, k.Local, k.Lport, k.Remote, k.Rport), socketID{}, event.ProtoUDP, 0, m)
}

// forgetFlows makes room for others.
func (t *tracer) forgetFlows(now uint64) {
	m := t.host.Map(bpf.TrafficMapFlows)
	idle := flowIdle
	if len(t.flows) > int(m.MaxEntries())/2 {
		idle = flowIdleFull
	}
	for key, st := range t.flows {
		if now-st.seen < uint64(idle) {
			continue
		}
		var f bpf.TrafficFlow
		if err := m.LookupAndDelete(key, &f); errors.Is(err, ebpf.ErrNotSupported) { // before 5.14
			if m.Lookup(key, &f) == nil {
				_ = m.Delete(key) // nobody else does
			}
		}
		t.flow(&bpf.TrafficFlowRecord{Key: key, Flow: f}, now)
		delete(t.flows, key)
	}
}

// add counts bytes for the row that they belong to, if they pass the filter.
func (t *tracer) add(p *bpf.TrafficParty, conn event.Connection, id socketID, proto string, born uint64, m moved) {
	head := event.Common{Process: event.Process{PID: p.Pid, Comm: t.host.Comm(p.Comm), UID: p.Uid, CgroupID: p.Cgroup}}
	refusal := t.host.Judge(&head)
	who := head.Process
	var key rowKey
	remote := conn.Dst
	if conn.Role == event.RoleServer {
		remote = conn.Src
	}
	switch t.by {
	case byPeer:
		key.peer = remote.Addr()
	case byContainer:
		key.place = who.ContainerID
	case byPod:
		key.place = who.PodUID
	case byConnection:
		key.conn, key.socket = conn, id
		fallthrough
	default:
		key.process = process{p.Start, p.Pid}
	}
	if refusal != (session.Refusal{}) {
		t.refused[key] = refusal
		return
	}
	r := t.rows[key]
	if r == nil {
		r = &row{}
		r.Kind = event.KindTraffic
		r.Peer = key.peer
		r.Connection = key.conn
		t.rows[key] = r
	}
	switch t.by {
	case byPeer:
	case byContainer: // a name may come later than the first bytes
		r.Place = who.Place
	case byPod:
		r.Place = event.Place{Pod: who.Pod, Namespace: who.Namespace, PodUID: who.PodUID}
	default:
		if r.PID == 0 || born > r.newest {
			r.Process, r.newest = who, born
		}
	}
	r.tcp = r.tcp || proto == event.ProtoTCP
	r.udp = r.udp || proto == event.ProtoUDP
	r.Tx += m.tx
	r.Rx += m.rx
	r.TotalTx += m.tx
	r.TotalRx += m.rx
}

// tell shows what was moved since it was called last.
func (t *tracer) tell(now uint64, final bool) {
	for id, st := range t.sockets {
		t.distribute(id, st, final || st.record.Last != 0)
		if st.record.Last != 0 {
			t.forgetSocket(id, st)
		}
	}
	for key, r := range t.refused {
		if shown := t.rows[key]; shown == nil || shown.Tx+shown.Rx == 0 {
			t.host.Refuse(r, 1) // a row, whatever it sums up
		}
		delete(t.refused, key)
	}
	interval := time.Duration(now - t.last)
	t.last = now
	rows := make([]*row, 0, len(t.rows))
	var sum, all moved
	for _, row := range t.rows {
		rows = append(rows, row)
		sum.tx += row.Tx
		sum.rx += row.Rx
		all.tx += row.TotalTx
		all.rx += row.TotalRx
	}
	slices.SortFunc(rows, func(a, b *row) int { return t.compare(a, b, false) })
	wall := t.host.Clock.Wall(now)
	for i, row := range rows {
		row.Time, row.Interval = wall, interval
		row.allTCP, row.allUDP = row.allTCP || row.tcp, row.allUDP || row.udp
		row.Proto = proto(row.tcp, row.udp)
		row.Part = t.part(moved{row.Tx, row.Rx}, sum)
		if row.Tx+row.Rx > 0 && (t.top == 0 || i < t.top) {
			t.host.Show(&row.Traffic)
		}
	}
	page := event.Page{Interval: interval, Elapsed: time.Duration(now - t.began), Total: len(rows) + t.folded.rows}
	page.Sum = &event.Traffic{
		Common: event.Common{Time: wall, Kind: event.KindTraffic}, Interval: interval,
		Tx: sum.tx, Rx: sum.rx, TotalTx: all.tx + t.folded.tx, TotalRx: all.rx + t.folded.rx,
	}
	if !final {
		page.Rows = t.shownRows(rows)
		t.host.Page(&page)
	}
	for _, row := range rows {
		row.Proto = proto(row.allTCP, row.allUDP)
		row.Part = t.part(moved{row.TotalTx, row.TotalRx}, all)
		row.Tx, row.Rx, row.tcp, row.udp = 0, 0, false, false
	}
	if final {
		slices.SortFunc(rows, func(a, b *row) int { return t.compare(a, b, true) })
		page.Closing = true
		page.Rows = t.shownRows(rows)
		t.host.Page(&page)
	}
	t.foldRows(rows)
}

func proto(tcp, udp bool) string {
	switch {
	case tcp && !udp:
		return event.ProtoTCP
	case udp && !tcp:
		return event.ProtoUDP
	}
	return ""
}

// shownRows are the rows of a page.
func (t *tracer) shownRows(rows []*row) iter.Seq[event.Event] {
	if t.top > 0 {
		rows = rows[:min(t.top, len(rows))]
	}
	return func(yield func(event.Event) bool) {
		for _, row := range rows {
			if !yield(&row.Traffic) {
				return
			}
		}
	}
}

// size is what rows are sorted by.
func (t *tracer) size(m moved) uint64 {
	switch t.sortBy {
	case "tx":
		return m.tx
	case "rx":
		return m.rx
	}
	return m.tx + m.rx
}

func (t *tracer) part(m, sum moved) float64 {
	return float64(t.size(m)) / float64(max(t.size(sum), 1))
}

// compare orders rows: by what they move now, then by what they have moved.
func (t *tracer) compare(a, b *row, whole bool) int {
	now := 0
	if !whole {
		now = cmp.Compare(t.size(moved{b.Tx, b.Rx}), t.size(moved{a.Tx, a.Rx}))
	}
	return cmp.Or(now,
		cmp.Compare(t.size(moved{b.TotalTx, b.TotalRx}), t.size(moved{a.TotalTx, a.TotalRx})),
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(a.CgroupID, b.CgroupID),
		a.Peer.Compare(b.Peer),
		a.Src.Compare(b.Src),
		a.Dst.Compare(b.Dst),
		cmp.Compare(a.Role, b.Role))
}

// foldRows forgets some rows, if there are very many: the last ones in order.
// Their bytes stay.
func (t *tracer) foldRows(rows []*row) {
	if len(rows) <= maxRows {
		return
	}
	least := map[*row]bool{}
	for _, row := range rows[maxRows*3/4:] {
		least[row] = true
	}
	for key, row := range t.rows {
		if least[row] {
			t.folded.rows++
			t.folded.tx += row.TotalTx
			t.folded.rx += row.TotalRx
			delete(t.rows, key)
		}
	}
}

// forgetSocket forgets one of which all is told.
func (t *tracer) forgetSocket(id socketID, st *socketState) {
	delete(t.sockets, id)
	for p := range st.shares {
		t.ended = append(t.ended, bpf.TrafficShareKey{Socket: id.address, Born: id.born, Pid: p.pid})
	}
}

// forgetShares makes room for others.
func (t *tracer) forgetShares() {
	for _, key := range t.ended {
		_ = t.host.Map(bpf.TrafficMapShares).Delete(key) // it may never have been there
	}
	t.ended = t.ended[:0]
}
