package traffic

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tracer/trace/event"
	"tracer/trace/session"
)

// coarser are the ways of making rows that the rows of another way can be summed up to.
// Which two processes a byte between them belongs to is known of connections alone.
var coarser = map[string][]string{
	byConnection: {byProcess, byProgram, byService, byPeer, byContainer, byPod},
	byProcess:    {byProgram, byContainer, byPod},
}

// maxRecordedPairs bounds what is remembered of connections whose ends are summed up.
const maxRecordedPairs = 1 << 16

var _ session.Replayer = (*tracer)(nil)

// Replaying readies the tracer for events of a recording.
func (t *tracer) Replaying(h *session.Host) {
	t.begin(h)
	t.began, t.last = h.Now(), h.Now()
	t.next = h.Timer(func() {
		t.next.In(t.interval)
		t.tellRecorded(false)
	})
	t.next.In(t.interval)
}

// Replay takes a row of a recording: rows of one interval have one time.
func (t *tracer) Replay(e event.Event, host int) (bool, error) {
	r, ok := e.(*event.Traffic)
	if !ok {
		return false, nil
	}
	by := recordedBy(r)
	if by != "" && by != t.by && !slices.Contains(coarser[by], t.by) {
		return true, fmt.Errorf("the traffic was recorded by %s, which cannot be shown by %s", by, t.by)
	}
	if at := uint64(r.Time.UnixNano()); at != t.recordedAt {
		t.beginRecorded(at, r.Interval)
	}
	if t.host.Passes(r, "") {
		t.addRecorded(r, host, by == t.by || by == "")
	}
	return true, nil
}

// beginRecorded begins an interval that was recorded, by its end and its length. Those
// before are told, unless this one belongs to the same interval that is wanted. Of those in
// which nothing was moved no rows were recorded.
func (t *tracer) beginRecorded(end uint64, length time.Duration) {
	begin := end - min(end, uint64(length))
	// What was recorded may be a little longer or shorter.
	whole := t.interval == defaultInterval || begin+uint64(length)/2 >= t.last+uint64(t.interval)
	switch {
	case t.recordedAt == 0:
		t.last = begin
	case whole:
		t.tellRecorded(false)
		t.last = begin
	}
	t.recordedAt = end
}

// recordedBy is what a row was recorded by; empty if it is of something unknown.
func recordedBy(r *event.Traffic) string {
	switch {
	case r.Role != "":
		return byConnection
	case r.PID != 0:
		return byProcess
	case r.Peer.IsValid():
		return byPeer
	case r.Comm != "":
		return byProgram
	case r.Dst.Port() != 0:
		return byService
	case r.ContainerID != "" || r.Container != "":
		return byContainer
	case r.PodUID != "" || r.Pod != "":
		return byPod
	}
	return ""
}

// addRecorded counts what a row has moved, for the row that it is or belongs to.
func (t *tracer) addRecorded(e *event.Traffic, host int, same bool) {
	key := rowKey{process: process{start: uint64(host)}}
	m := moved{e.Tx, e.Rx}
	switch t.by {
	case byPeer:
		key.peer = e.Peer
		if !same {
			key.peer = e.Dst.Addr()
			if e.Role == event.RoleServer {
				key.peer = e.Src.Addr()
			}
		}
	case byContainer:
		key.place = e.ContainerID
	case byPod:
		key.place = e.PodUID
	case byProgram:
		key.program = e.Comm
	case byService:
		key.port = e.Dst.Port()
		if !same {
			m = t.recordedPair(e).service(e.Role, m)
		}
	case byConnection:
		key.conn = e.Connection
		fallthrough
	default:
		key.pid = e.PID
	}
	r := t.rows[key]
	if r == nil {
		r = &row{}
		r.Kind, r.Hostname = event.KindTraffic, e.Hostname
		r.Peer, r.Connection = key.peer, key.conn
		if t.by == byService {
			r.Dst = netip.AddrPortFrom(netip.Addr{}, key.port)
		}
		t.rows[key] = r
	}
	switch t.by {
	case byPeer, byService:
	case byProgram:
		r.Comm = e.Comm
	case byContainer:
		r.Place = e.Place
	case byPod:
		r.Place = event.Place{Pod: e.Pod, Namespace: e.Namespace, PodUID: e.PodUID}
	default:
		r.Process = e.Process
	}
	first := r.Tx+r.Rx == 0
	if r.Recorded = ""; first && same {
		r.Recorded = e.Recorded
	}
	r.tcp = r.tcp || e.Proto != event.ProtoUDP
	r.udp = r.udp || e.Proto != event.ProtoTCP
	r.Tx += m.tx
	r.Rx += m.rx
	r.TotalTx += m.tx
	r.TotalRx += m.rx
}

// recordedPair is what both ends of a row's connection have moved.
func (t *tracer) recordedPair(e *event.Traffic) *pair {
	key := pairKey{e.Proto, e.Src, e.Dst}
	p := t.pairs[key]
	if p == nil {
		if len(t.pairs) >= maxRecordedPairs {
			clear(t.pairs)
		}
		p = &pair{key: key}
		t.pairs[key] = p
	}
	return p
}

// tellRecorded shows the rows of the interval that was read last.
func (t *tracer) tellRecorded(final bool) {
	now := max(t.recordedAt, t.last)
	if final {
		now = max(now, t.host.Now())
	}
	t.tellRows(now, final)
}

// Replayed tells the last interval, and the table of the whole.
func (t *tracer) Replayed() {
	t.tellRecorded(false)
	t.tellRecorded(true)
}
