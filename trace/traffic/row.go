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
