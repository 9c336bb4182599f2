package traffic

import (
	"tracer/bpf"
	"tracer/trace/event"
)

// socket takes over a reading of a TCP socket.
func (t *tracer) socket(r *bpf.TrafficTcpRecord) {
	id := socketID{r.Socket, r.Tcp.Born}
	st := t.sockets[id]
	switch {
	case st == nil:
		st = &socketState{both: t.pairOf(t.connectionOf(&r.Tcp), event.ProtoTCP)}
		t.sockets[id] = st
	case st.record.Last != 0:
		return
	}
	if r.Tcp.Shared != 0 {
		t.share(st)
	}
	st.record = *r
	t.active[id] = st
}

// share readies a socket for the shares of several processes.
func (t *tracer) share(st *socketState) {
	if st.shares == nil {
		st.shares = map[process]*share{}
		t.sharing++
	}
}

// toLookAt are the sockets of which bytes may be in no row yet. In the end all count
// that have come, also those that nobody has read.
func (t *tracer) toLookAt(final bool) map[socketID]*socketState {
	if final {
		return t.sockets
	}
	return t.active
}

// shared takes over what one process has moved of a socket.
func (t *tracer) shared(r *bpf.TrafficShareRecord) {
	st := t.sockets[socketID{r.Key.Socket, r.Key.Born}]
	if st == nil {
		return // nothing has arrived yet of what was written
	}
	t.share(st)
	p := process{r.Share.Party.Start, r.Share.Party.Pid}
	sh := st.shares[p]
	if sh == nil {
		sh = &share{}
		st.shares[p] = sh
	}
	sh.known = r.Share
}

// ownersAreUnknown reports whether there are bytes of which a look at all files
// may tell whose they are.
func (t *tracer) ownersAreUnknown(last bool) bool {
	unknown := false
	for _, st := range t.toLookAt(last) {
		if !st.looked && !st.ownerKnown(t.look) && st.left(last) != (moved{}) {
			st.looked = true
			unknown = true
		}
	}
	return unknown
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
			t.add(p, t.connectionOf(r), id, event.ProtoTCP, r.Born, st.both, m)
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

// forgetSocket forgets one of which all is told.
func (t *tracer) forgetSocket(id socketID, st *socketState) {
	delete(t.sockets, id)
	delete(t.active, id)
	t.leave(st.both)
	if st.shares != nil {
		t.sharing--
	}
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
