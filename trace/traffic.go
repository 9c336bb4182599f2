package trace

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
	"github.com/cilium/ebpf/link"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/option"
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
	// callCopies is the number of programs that see each call, where one may
	// miss it.
	callCopies = 3
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

// trafficTracer reports who moves how many bytes.
type trafficTracer struct {
	by       string
	sortBy   string
	interval time.Duration
	top      uint64

	recvArgs int  // number of parameters of tcp_recvmsg
	preempts bool // it may preempt programs, which miss calls by that: they have copies

	reads map[string]*link.Iter // by program
	look  uint32                // the last one at all files
	buf   *bufio.Reader

	sockets map[socketID]*socketState
	flows   map[bpf.TrafficFlowKey]*flowState
	rows    map[rowKey]*trafficRow
	folded  fold
	ended   []bpf.TrafficShareKey // shares of sockets that are gone

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

type trafficRow struct {
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

func (t *trafficTracer) Flags(fs *flag.FlagSet) {
	t.by, t.interval, t.sortBy = byProcess, time.Second, "total"
	fs.Var(option.OneOf(&t.by, byProcess, byConnection, byPeer, byContainer, byPod), "by",
		"`process|connection|peer|container|pod` one row for each")
	fs.Var(option.Duration(&t.interval, leastInterval), "interval", "`1s` time between refreshes")
	fs.Var(option.Number(&t.top, 0), "top", "`N` show at most N rows; 0: as many as fit, or all")
	fs.Var(option.OneOf(&t.sortBy, "tx", "rx", "total"), "sort", "`tx|rx|total` order of the rows")
}

func (t *trafficTracer) Validate() error { return nil }

// View names the view of rows of this kind.
func (t *trafficTracer) View() string {
	if t.by == byProcess {
		return "traffic"
	}
	return "traffic by " + t.by
}

func (t *trafficTracer) load(s *Session) (*ebpf.CollectionSpec, error) {
	spec, err := object("traffic", bpf.LoadTraffic)
	if err != nil {
		return nil, err
	}
	types, err := s.kernelTypes()
	if err != nil {
		return nil, err
	}
	t.recvArgs = parameters(types, "tcp_recvmsg")
	if t.preempts, err = s.preempts(); err != nil {
		return nil, err
	}
	flags := uint32(3)
	if t.recvArgs == 6 {
		flags = 4
	}
	spec.Maps[bpf.TrafficMapEvents].MaxEntries = trafficRing
	if t.by != byConnection && t.by != byPeer {
		spec.Maps[bpf.TrafficMapFlows].MaxEntries = 8192 // a process each
	}
	if s.opts.maxSocks > 0 {
		for _, m := range []string{bpf.TrafficMapSocks, bpf.TrafficMapShares, bpf.TrafficMapFlows} {
			spec.Maps[m].MaxEntries = s.opts.maxSocks
		}
	}
	return spec, setKnobs(spec, map[string]any{
		bpf.TrafficVarHasCopies:    t.preempts,
		bpf.TrafficVarByConnection: t.by == byConnection,
		bpf.TrafficVarByPeer:       t.by == byPeer,
		bpf.TrafficVarRecvFlagsArg: flags,
	})
}

func (t *trafficTracer) features() []feature {
	calls := []door{{tierTracepoint, t.copies(bpf.TrafficProgTrafficSendLength, bpf.TrafficProgTrafficRecvLength)}}
	calls = append(calls, t.functions()...)
	if t.by == byConnection || t.by == byPeer {
		// Functions know whom a UDP socket speaks to that is not connected.
		calls = append(calls[1:], calls[0])
	}
	// One copy for the packet that interrupts a program, wherever that is.
	states := []string{
		bpf.TrafficProgTrafficSetState, bpf.TrafficProgTrafficSetStateCopy1,
		bpf.TrafficProgTrafficDestroy, bpf.TrafficProgTrafficDestroyCopy1,
	}
	if t.preempts {
		states = append(states, bpf.TrafficProgTrafficSetStateCopy2, bpf.TrafficProgTrafficSetStateCopy3,
			bpf.TrafficProgTrafficDestroyCopy2)
	}
	return []feature{
		{name: "TCP sockets", doors: []door{{tierTracepoint, states}}},
		{name: "readings of sockets", doors: []door{{tierTracepoint, []string{
			bpf.TrafficProgTrafficReadSocks, bpf.TrafficProgTrafficReadShares,
			bpf.TrafficProgTrafficReadFlows, bpf.TrafficProgTrafficLook,
		}}}},
		{
			name:    "UDP, and who uses a socket of several processes",
			doors:   calls,
			without: "UDP is left out, and the traffic of a TCP socket that several processes use is that of one of them: this kernel tells neither",
		},
	}
}

// functions are the doors to calls by hooks of functions. Not every kernel has
// IPv6, nor functions of their own for sendfile.
func (t *trafficTracer) functions() []door {
	var doors []door
	recvmsg := map[int]string{
		4: bpf.TrafficProgTrafficTcpRecvmsgFexit4,
		5: bpf.TrafficProgTrafficTcpRecvmsgFexit5,
		6: bpf.TrafficProgTrafficTcpRecvmsgFexit6,
	}[t.recvArgs]
	if recvmsg != "" {
		base := t.copies(bpf.TrafficProgTrafficUdpSendmsgFexit, bpf.TrafficProgTrafficUdpConsumeFentry)
		base = append(base, bpf.TrafficProgTrafficTcpSendmsgFexit, recvmsg, bpf.TrafficProgTrafficTcpSpliceReadFexit)
		ipv6 := t.copies(bpf.TrafficProgTrafficUdpv6SendmsgFexit)
		// Of the programs on a function the last one runs first.
		slices.Reverse(base)
		slices.Reverse(ipv6)
		page := []string{bpf.TrafficProgTrafficTcpSendpageFexit}
		doors = append(doors,
			door{tierFunction, slices.Concat(base, ipv6, page)},
			door{tierFunction, slices.Concat(base, ipv6)},
			door{tierFunction, slices.Concat(base, page)},
			door{tierFunction, base},
		)
	}
	base := []string{
		bpf.TrafficProgTrafficTcpSendmsgKprobe, bpf.TrafficProgTrafficTcpSendmsgKretprobe,
		bpf.TrafficProgTrafficTcpRecvmsgKprobe, bpf.TrafficProgTrafficTcpRecvmsgKretprobe,
		bpf.TrafficProgTrafficUdpSendmsgKprobe, bpf.TrafficProgTrafficUdpSendmsgKretprobe,
		bpf.TrafficProgTrafficUdpConsumeKprobe,
	}
	ipv6 := []string{bpf.TrafficProgTrafficUdpv6SendmsgKprobe, bpf.TrafficProgTrafficUdpv6SendmsgKretprobe}
	return append(doors, door{tierKprobe, slices.Concat(base, ipv6)}, door{tierKprobe, base})
}

// copies are the programs that do what these do: see enum mark in
// bpf/traffic.bpf.c.
func (t *trafficTracer) copies(programs ...string) []string {
	if !t.preempts {
		return programs
	}
	var all []string
	for _, p := range programs {
		for i := range callCopies {
			all = append(all, fmt.Sprintf("%s_copy%d", p, i))
		}
	}
	return all
}

// overlooks: see connTracer's.
func (t *trafficTracer) overlooks() bool { return t.preempts }

// missed is the number of calls that copies have seen and none has counted.
func (t *trafficTracer) missed(s *Session) (n uint64) {
	if !t.preempts {
		return 0
	}
	var seen [callCopies + 1]uint64
	for i := range seen {
		if err := s.objects.Maps[bpf.TrafficMapRuns].Lookup(uint32(i), s.stats.perCPU); err != nil {
			return 0
		}
		for _, n := range s.stats.perCPU {
			seen[i] += n
		}
	}
	counted := seen[callCopies]
	return max(slices.Max(seen[:]), counted) - counted
}

// attached notes the sockets that are there already, of all processes in all
// network namespaces: their bytes count from here on.
func (t *trafficTracer) attached(s *Session) error {
	t.sockets = map[socketID]*socketState{}
	t.flows = map[bpf.TrafficFlowKey]*flowState{}
	t.rows = map[rowKey]*trafficRow{}
	t.buf = bufio.NewReaderSize(nil, 64<<10)
	t.reads = map[string]*link.Iter{}
	for program, of := range map[string]string{
		bpf.TrafficProgTrafficReadSocks:  bpf.TrafficMapSocks,
		bpf.TrafficProgTrafficReadShares: bpf.TrafficMapShares,
		bpf.TrafficProgTrafficReadFlows:  bpf.TrafficMapFlows,
		bpf.TrafficProgTrafficLook:       "",
	} {
		it, err := link.AttachIter(link.IterOptions{Program: s.programs[program], Map: s.objects.Maps[of]})
		if err != nil {
			return fmt.Errorf("attach iterator %q: %w", program, err)
		}
		s.links = append(s.links, it)
		t.reads[program] = it
	}
	if err := t.lookAtFiles(s); err != nil {
		return err
	}
	t.began = bootNow()
	t.last = t.began
	return nil
}

// lookAtFiles finds out who holds sockets of which nobody has moved bytes yet.
func (t *trafficTracer) lookAtFiles(s *Session) error {
	t.look++
	if err := s.objects.Variables[bpf.TrafficVarLook].Set(t.look); err != nil {
		return fmt.Errorf("set variable %q: %w", bpf.TrafficVarLook, err)
	}
	var none struct{}
	return iterate(t, bpf.TrafficProgTrafficLook, &none, func() {})
}

// iterate runs an iterator. It calls f with each record that comes, in r.
func iterate[T any](t *trafficTracer, program string, r *T, f func()) error {
	file, err := t.reads[program].Open()
	if err != nil {
		return fmt.Errorf("open iterator %q: %w", program, err)
	}
	defer file.Close()
	t.buf.Reset(file)
	size := unsafe.Sizeof(*r)
	if size == 0 {
		_, err := io.Copy(io.Discard, t.buf)
		return err
	}
	record := unsafe.Slice((*byte)(unsafe.Pointer(r)), size)
	for {
		if _, err := io.ReadFull(t.buf, record); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("run iterator %q: %w", program, err)
		}
		f()
	}
}

func (t *trafficTracer) every() time.Duration { return t.interval }

// read takes a reading of everything. What a reading lacks the next one tells:
// the last one must not fail.
func (t *trafficTracer) read(s *Session, last bool) {
	err := t.readAll(s, last)
	if err != nil && last {
		err = t.readAll(s, last)
	}
	if err != nil {
		s.stats.lost[lostReading]++
		s.opts.Notice(&event.Notice{Kind: "warning", Message: "sockets could not be read: " + err.Error()})
	}
}

func (t *trafficTracer) readAll(s *Session, last bool) error {
	if last {
		if err := s.objects.Variables[bpf.TrafficVarTellAll].Set(uint32(1)); err != nil {
			return err
		}
	}
	if err := t.readSockets(); err != nil {
		return err
	}
	unknown := t.ownersAreUnknown(last)
	if unknown {
		if err := t.lookAtFiles(s); err != nil {
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
	t.forgetShares(s)
	if t.anyIsShared() {
		var share bpf.TrafficShareRecord
		if err := iterate(t, bpf.TrafficProgTrafficReadShares, &share, func() { t.shared(&share) }); err != nil {
			return err
		}
	}
	now := bootNow()
	var flow bpf.TrafficFlowRecord
	err := iterate(t, bpf.TrafficProgTrafficReadFlows, &flow, func() { t.flow(s, &flow, now) })
	t.forgetFlows(s, now)
	return err
}

func (t *trafficTracer) readSockets() error {
	var r bpf.TrafficTcpRecord
	return iterate(t, bpf.TrafficProgTrafficReadSocks, &r, func() { t.socket(&r) })
}

// decode takes the last reading of a socket.
func (t *trafficTracer) decode(_ *Session, record []byte) bool {
	if !isRecord(record, unsafe.Sizeof(bpf.TrafficTcpRecord{})) {
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
func (t *trafficTracer) socket(r *bpf.TrafficTcpRecord) {
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
func (t *trafficTracer) shared(r *bpf.TrafficShareRecord) {
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

func (t *trafficTracer) anyIsShared() bool {
	for _, st := range t.sockets {
		if st.record.Tcp.Shared != 0 {
			return true
		}
	}
	return false
}

// ownersAreUnknown reports whether there are bytes of which a look at all files
// may tell whose they are.
func (t *trafficTracer) ownersAreUnknown(last bool) bool {
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
func (t *trafficTracer) distribute(s *Session, id socketID, st *socketState, final bool) {
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
			t.add(s, p, t.connectionOf(r), id, event.ProtoTCP, r.Born, m)
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
func (t *trafficTracer) connectionOf(r *bpf.TrafficTcp) event.Connection {
	return bothEnds(r.Role == roleClient, r.Local, r.Lport, r.Remote, r.Rport)
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
	a := addr(b)
	if a.IsUnspecified() {
		a = netip.Addr{}
	}
	return netip.AddrPortFrom(a, port)
}

// flow takes over what a process has moved by UDP.
func (t *trafficTracer) flow(s *Session, r *bpf.TrafficFlowRecord, now uint64) {
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
	t.add(s, &bpf.TrafficParty{
		Start: k.Start, Pid: k.Pid, Cgroup: r.Flow.Cgroup, Uid: r.Flow.Uid, Comm: r.Flow.Comm,
	}, bothEnds(r.Flow.Role == roleClient, k.Local, k.Lport, k.Remote, k.Rport), socketID{}, event.ProtoUDP, 0, m)
}

// forgetFlows makes room for others.
func (t *trafficTracer) forgetFlows(s *Session, now uint64) {
	m := s.objects.Maps[bpf.TrafficMapFlows]
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
		t.flow(s, &bpf.TrafficFlowRecord{Key: key, Flow: f}, now)
		delete(t.flows, key)
	}
}

// add counts bytes for the row that they belong to, if they pass the filter.
func (t *trafficTracer) add(s *Session, p *bpf.TrafficParty, conn event.Connection, id socketID, proto string, born uint64, m moved) {
	head := event.Common{Process: event.Process{PID: p.Pid, Comm: s.comm(p.Comm), UID: p.Uid, CgroupID: p.Cgroup}}
	if !s.passes(&head) {
		return
	}
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
	row := t.rows[key]
	if row == nil {
		row = &trafficRow{}
		row.Kind = event.KindTraffic
		row.Peer = key.peer
		row.Connection = key.conn
		t.rows[key] = row
	}
	switch t.by {
	case byPeer:
	case byContainer: // a name may come later than the first bytes
		row.Place = who.Place
	case byPod:
		row.Place = event.Place{Pod: who.Pod, Namespace: who.Namespace, PodUID: who.PodUID}
	default:
		if row.PID == 0 || born > row.newest {
			row.Process, row.newest = who, born
		}
	}
	row.tcp = row.tcp || proto == event.ProtoTCP
	row.udp = row.udp || proto == event.ProtoUDP
	row.Tx += m.tx
	row.Rx += m.rx
	row.TotalTx += m.tx
	row.TotalRx += m.rx
}

// report shows what has been moved since the last time.
func (t *trafficTracer) report(s *Session) { t.tell(s, bootNow(), false) }

func (t *trafficTracer) tell(s *Session, now uint64, final bool) {
	for id, st := range t.sockets {
		t.distribute(s, id, st, final || st.record.Last != 0)
		if st.record.Last != 0 {
			t.forgetSocket(id, st)
		}
	}
	interval := time.Duration(now - t.last)
	t.last = now
	rows := make([]*trafficRow, 0, len(t.rows))
	var sum, all moved
	for _, row := range t.rows {
		rows = append(rows, row)
		sum.tx += row.Tx
		sum.rx += row.Rx
		all.tx += row.TotalTx
		all.rx += row.TotalRx
	}
	slices.SortFunc(rows, func(a, b *trafficRow) int { return t.compare(a, b, false) })
	wall := s.clock.wall(now)
	for i, row := range rows {
		row.Time, row.Interval = wall, interval
		row.allTCP, row.allUDP = row.allTCP || row.tcp, row.allUDP || row.udp
		row.Proto = proto(row.tcp, row.udp)
		row.Part = t.part(moved{row.Tx, row.Rx}, sum)
		if row.Tx+row.Rx > 0 && (t.top == 0 || uint64(i) < t.top) {
			s.show(&row.Traffic)
		}
	}
	page := event.Page{Interval: interval, Elapsed: time.Duration(now - t.began), Total: len(rows) + t.folded.rows}
	page.Sum = &event.Traffic{
		Common: event.Common{Time: wall, Kind: event.KindTraffic}, Interval: interval,
		Tx: sum.tx, Rx: sum.rx, TotalTx: all.tx + t.folded.tx, TotalRx: all.rx + t.folded.rx,
	}
	if !final {
		page.Rows = t.shownRows(rows)
		s.page(&page)
	}
	for _, row := range rows {
		row.Proto = proto(row.allTCP, row.allUDP)
		row.Part = t.part(moved{row.TotalTx, row.TotalRx}, all)
		row.Tx, row.Rx, row.tcp, row.udp = 0, 0, false, false
	}
	if final {
		slices.SortFunc(rows, func(a, b *trafficRow) int { return t.compare(a, b, true) })
		page.Closing = true
		page.Rows = t.shownRows(rows)
		s.page(&page)
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
func (t *trafficTracer) shownRows(rows []*trafficRow) iter.Seq[event.Event] {
	if t.top > 0 {
		rows = rows[:min(t.top, uint64(len(rows)))]
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
func (t *trafficTracer) size(m moved) uint64 {
	switch t.sortBy {
	case "tx":
		return m.tx
	case "rx":
		return m.rx
	}
	return m.tx + m.rx
}

func (t *trafficTracer) part(m, sum moved) float64 {
	return float64(t.size(m)) / float64(max(t.size(sum), 1))
}

// compare orders rows: by what they move now, then by what they have moved.
func (t *trafficTracer) compare(a, b *trafficRow, whole bool) int {
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
func (t *trafficTracer) foldRows(rows []*trafficRow) {
	if len(rows) <= maxRows {
		return
	}
	least := map[*trafficRow]bool{}
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
func (t *trafficTracer) forgetSocket(id socketID, st *socketState) {
	delete(t.sockets, id)
	for p := range st.shares {
		t.ended = append(t.ended, bpf.TrafficShareKey{Socket: id.address, Born: id.born, Pid: p.pid})
	}
}

// forgetShares makes room for others.
func (t *trafficTracer) forgetShares(s *Session) {
	for _, key := range t.ended {
		_ = s.objects.Maps[bpf.TrafficMapShares].Delete(key) // it may never have been there
	}
	t.ended = t.ended[:0]
}

func (t *trafficTracer) waiting() bool { return false }

// tick shows, before the end, what has come since the last report.
func (t *trafficTracer) tick(s *Session, now uint64, last bool) {
	if last {
		t.tell(s, now, true)
	}
}
