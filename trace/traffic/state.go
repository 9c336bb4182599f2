package traffic

import (
	"net/netip"

	"tracer/bpf"
	"tracer/trace/event"
)

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
	both   *pair                // with the other end; nil: that does not matter
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
	both *pair  // as of socketState
}

// pairKey names a connection from both its ends.
type pairKey struct {
	proto    string
	src, dst netip.AddrPort
}

// A pair is the two ends of a connection that may both be here: what each has moved
// that is in rows. Ends of one name in several network namespaces are counted together,
// which changes no sum.
type pair struct {
	key            pairKey
	client, server end
	ends           int    // sockets and flows that it has
	doubled        uint64 // bytes that both ends have in rows
	told           moved  // by service: what rows have, as the server sees it
}

type end struct {
	moved
	row  *row // the last one
	seen bool // it has moved something
}

// rowKey is what a row is about; what does not matter is zero.
type rowKey struct {
	process
	place   string // id of a container, uid of a pod; empty for what runs in none
	socket  socketID
	peer    netip.Addr
	program string
	port    uint16 // of the server
	conn    event.Connection
}

type row struct {
	event.Traffic
	tcp, udp            bool // in this interval
	allTCP              bool // ever
	allUDP              bool
	doubled, allDoubled uint64 // bytes that the row of the other end has, too: now, and ever
	newest              uint64 // when the socket was noted that told comm
}

// fold is what is left of rows that are forgotten.
type fold struct {
	rows int
	moved
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
