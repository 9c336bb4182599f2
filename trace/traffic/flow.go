package traffic

import (
	"errors"
	"time"

	"github.com/cilium/ebpf"

	"tracer/bpf"
	"tracer/trace/event"
)

// flowIdle is after how long a UDP row of the kernel's side is forgotten, and
// flowIdleFull after how long if the map is half full: each look-up of a name, say,
// has a port of its own.
const flowIdle, flowIdleFull = time.Minute, 100 * time.Millisecond

// flow takes over what a process has moved by UDP.
func (t *tracer) flow(r *bpf.TrafficFlowRecord, now uint64) {
	st := t.flows[r.Key]
	k := &r.Key
	conn := bothEnds(r.Flow.Role == bpf.TrafficRoleClient, k.Local, k.Lport, k.Remote, k.Rport)
	if st == nil {
		st = &flowState{both: t.pairOf(conn, event.ProtoUDP)}
		t.flows[r.Key] = st
	}
	m := moved{r.Flow.Tx - st.told.tx, r.Flow.Rx - st.told.rx}
	if m == (moved{}) {
		return
	}
	st.told, st.seen = moved{r.Flow.Tx, r.Flow.Rx}, now
	t.add(&bpf.TrafficParty{
		Start: k.Start, Pid: k.Pid, Cgroup: r.Flow.Cgroup, Uid: r.Flow.Uid, Comm: r.Flow.Comm,
	}, conn, socketID{}, event.ProtoUDP, 0, st.both, m)
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
		t.leave(st.both)
		delete(t.flows, key)
	}
}
