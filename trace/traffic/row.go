package traffic

import (
	"cmp"
	"net/netip"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/session"
)

// maxRows bounds what is remembered of rows: of the idle ones, the least are
// counted together.
const maxRows = 1 << 16

// add counts bytes for the row that they belong to, if they pass the filter. both is
// what is known of the other end, nil if that does not matter.
func (t *tracer) add(p *bpf.TrafficParty, conn event.Connection, id socketID, proto string, born uint64, both *pair, m moved) {
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
	case byProgram:
		key.program = who.Comm
	case byService:
		key.port = conn.Dst.Port()
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
	if t.by == byService {
		switch {
		case both != nil:
			m = both.service(conn.Role, m)
		case conn.Role == event.RoleClient:
			m = m.mirrored()
		}
		if m == (moved{}) {
			return // the server's end has it
		}
	}
	r := t.rows[key]
	if r == nil {
		r = &row{}
		r.Kind = event.KindTraffic
		r.Peer = key.peer
		r.Connection = key.conn
		if t.by == byService {
			r.Dst = netip.AddrPortFrom(netip.Addr{}, key.port)
		}
		t.rows[key] = r
	}
	switch t.by {
	case byPeer, byService:
	case byProgram:
		r.Comm = who.Comm
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
	if both != nil && t.by != byService {
		if n := both.add(conn.Role, r, m); n > 0 {
			for _, e := range []*end{&both.client, &both.server} {
				e.row.doubled += n
				e.row.allDoubled += n
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

// weight is what a row's share is made of, in halves of a byte: of a byte that both ends
// of a connection have in rows each end has half.
func (t *tracer) weight(m moved, doubled uint64) uint64 {
	halves := 2 * t.size(m)
	if t.sortBy != sortTotal { // sent by one end, and received by the other
		return halves
	}
	return halves - min(doubled, halves)
}

// part is a share of the sum of all weights.
func part(weight, sum uint64) float64 { return float64(weight) / float64(max(sum, 1)) }

// compare orders rows: by what they move now, then by what they have moved.
func (t *tracer) compare(a, b *row, whole bool) int {
	now := 0
	if !whole {
		now = cmp.Compare(t.size(moved{b.Tx, b.Rx}), t.size(moved{a.Tx, a.Rx}))
	}
	return cmp.Or(now,
		cmp.Compare(t.size(moved{b.TotalTx, b.TotalRx}), t.size(moved{a.TotalTx, a.TotalRx})),
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(a.Comm, b.Comm),
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
