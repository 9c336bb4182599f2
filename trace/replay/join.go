package replay

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"tracer/trace/event"
)

const (
	// maxSkew is how far the clocks of two hosts may be apart.
	maxSkew = 10 * time.Second
	// A skew that was seen is a bound for others after so many exchanges, with this much
	// room: an answer may take longer to come than the one before.
	skewKnown, skewRoom = 16, time.Second
	// maxHeld bounds the memory of lines that wait for another host's, in bytes.
	maxHeld = 32 << 20
	// heldBytes is about what a line takes beside twice its text.
	heldBytes = 1 << 10
)

// A join makes one row of the two ends of an exchange that two hosts have recorded: those
// of the same connection and with the same place on it. Lines keep their order, and so
// all of them wait for as long as the other end of one may come: at most as long as clocks
// may be apart, and less once it is known how far they are.
type join struct {
	queue []*held // oldest first; nil up to first
	first int
	bytes int
	now   int64 // the latest end so far
	slots map[joinKey]*slot
	skews map[[2]int]*skew // by the hosts' numbers, the lower first
	stats *Stats
	seeds [2]maphash.Seed
}

// A joinKey names an exchange on all hosts: its connection, and its place there. Of a
// connection without a name that is a hash of the addresses.
type joinKey struct {
	named     bool
	of, place uint64
}

// placed is what a hash is made of.
type placed struct {
	src, dst netip.AddrPort
	place    uint64
}

// A slot has the ends of an exchange that wait.
type slot struct {
	client, server *held
	ambiguous      bool
	settled        bool // both are one row, of which an end has left the queue
	held           int  // lines in the queue that have the key
}

// A held is a line that waits.
type held struct {
	Line
	key     joinKey
	slot    *slot // nil: there is no other end
	partner *held // of a client's end: the server's
	taken   bool  // a server's end that is in the client's row
}

type skew struct {
	matches int
	most    time.Duration // between the ends of one exchange
}

func newJoin(stats *Stats) *join {
	return &join{slots: map[joinKey]*slot{}, skews: map[[2]int]*skew{}, stats: stats, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

// push takes a copy of a line.
func (j *join) push(l *Line) {
	h := &held{Line: *l}
	if e, ok := l.Object.(event.Event); ok {
		text := e.Head().Recorded // the same, and it stays
		h.Raw = unsafe.Slice(unsafe.StringData(text), len(text))
	} else {
		h.Raw = slices.Clone(l.Raw)
	}
	j.bytes += h.size()
	j.now = max(j.now, l.ended)
	j.queue = append(j.queue, h)
	e, ok := l.Object.(*event.HTTP)
	if !ok {
		return
	}
	if h.key, ok = j.keyOf(e); ok {
		j.meet(h, e)
	}
}

// size is about what a held line takes.
func (h *held) size() int { return 2*len(h.Raw) + heldBytes }

// keyOf names an exchange of which one end is known, if its place on its connection is.
func (j *join) keyOf(e *event.HTTP) (joinKey, bool) {
	const isStream = 1 << 63
	place := e.Seq &^ isStream
	if e.Stream != 0 {
		place = isStream | uint64(e.Stream)
	}
	if e.Kind != event.KindHTTP || e.Role == event.RoleBoth || place == 0 {
		return joinKey{}, false
	}
	if e.ID.Known {
		return joinKey{true, uint64(e.ID.Client)<<32 | uint64(e.ID.Server), place}, true
	}
	for _, a := range []netip.AddrPort{e.Src, e.Dst} {
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsLoopback() {
			return joinKey{}, false
		}
	}
	p := placed{e.Src, e.Dst, place}
	return joinKey{false, maphash.Comparable(j.seeds[0], p), maphash.Comparable(j.seeds[1], p)}, true
}

// meet looks for the other end of h.
func (j *join) meet(h *held, e *event.HTTP) {
	s := j.slots[h.key]
	if s == nil {
		s = &slot{}
		j.slots[h.key] = s
	}
	if s.settled {
		return
	}
	h.slot = s
	s.held++
	end := &s.client
	if e.Role == event.RoleServer {
		end = &s.server
	}
	if *end != nil || s.ambiguous {
		s.part()
		return
	}
	*end = h
	if s.client == nil || s.server == nil {
		return
	}
	client, server := s.client.Object.(*event.HTTP), s.server.Object.(*event.HTTP)
	if s.client.Host == s.server.Host || client.Time.Sub(server.Time).Abs() > maxSkew {
		s.part()
		return
	}
	s.client.partner, s.server.taken = s.server, true
	pair := [2]int{s.client.Host.Number, s.server.Host.Number}
	slices.Sort(pair[:])
	k := j.skews[pair]
	if k == nil {
		k = &skew{}
		j.skews[pair] = k
	}
	k.matches++
	k.most = max(k.most, time.Duration(s.client.ended-s.server.ended).Abs())
}

// part says that it is not certain which ends belong together: each is a row of its own.
func (s *slot) part() {
	s.ambiguous = true
	if s.client != nil {
		s.client.partner = nil
	}
	if s.server != nil {
		s.server.taken = false
	}
	s.client, s.server = nil, nil
}

// patience is how long a line of a host waits for what others have: hosts is how many
// there are.
func (j *join) patience(host *Host, hosts int) time.Duration {
	most := time.Duration(0)
	for other := range hosts {
		if other == host.Number {
			continue
		}
		k := j.skews[[2]int{min(host.Number, other), max(host.Number, other)}]
		if k == nil || k.matches < skewKnown {
			return maxSkew
		}
		most = max(most, min(2*k.most+skewRoom, maxSkew))
	}
	return most
}

// pop returns the line that comes next, if it waits for nothing any more, or if all is
// true. The line is valid until push or pop is called again.
func (j *join) pop(hosts int, all bool) *Line {
	for j.first < len(j.queue) {
		h := j.queue[j.first]
		// Addresses may be those of others, too: it is seen whether there are.
		waits := h.slot != nil && !h.slot.ambiguous && (h.partner == nil && !h.taken || !h.key.named)
		if waits && !all && j.bytes <= maxHeld && j.now-h.ended <= int64(j.patience(h.Host, hosts)) {
			return nil
		}
		j.queue[j.first] = nil
		j.first++
		if j.first > len(j.queue)/2 {
			j.queue, j.first = slices.Delete(j.queue, 0, j.first), 0
		}
		j.bytes -= h.size()
		j.leave(h)
		if h.taken {
			continue
		}
		if h.partner != nil {
			h.unite()
			j.stats.Joined++
		}
		return &h.Line
	}
	return nil
}

// leave takes a line out of its slot.
func (j *join) leave(h *held) {
	s := h.slot
	if s == nil {
		return
	}
	switch {
	case h.partner != nil || h.taken:
		s.settled = true
	case s.client == h:
		s.client = nil
	case s.server == h:
		s.server = nil
	}
	if s.held--; s.held == 0 {
		delete(j.slots, h.key)
	}
}

// empty reports whether nothing waits.
func (j *join) empty() bool { return j.first == len(j.queue) }

// unite makes a client's end, and its partner, one row.
func (h *held) unite() {
	client, server := h.Object.(*event.HTTP), h.partner.Object.(*event.HTTP)
	e := *client
	e.Recorded = ""
	e.Role = event.RoleBoth
	e.Process, e.Hostname = server.Process, server.Hostname
	e.PeerPID, e.PeerComm, e.PeerHostname = client.PID, client.Comm, client.Hostname
	e.PeerContainer, e.PeerContainerID, e.PeerPod, e.PeerNamespace = client.Container, client.ContainerID, client.Pod, client.Namespace
	e.ServerTime, e.ServerLatency, e.ServerDuration = server.Time, server.Latency, server.Duration
	if client.Latency > 0 && server.Latency > 0 {
		e.Network, e.HasNetwork = client.Latency-server.Latency, true
	}
	e.TLS = server.TLS
	e.AcceptWait, e.Queue, e.CPU, e.RunQueue, e.Blocked = server.AcceptWait, server.Queue, server.CPU, server.RunQueue, server.Blocked
	for _, text := range [][2]*string{{&e.Version, &server.Version}, {&e.Method, &server.Method}, {&e.Host, &server.Host}} {
		if *text[0] == "" {
			*text[0] = *text[1]
		}
	}
	if e.Path == "" || e.PathTruncated && !server.PathTruncated && server.Path != "" {
		e.Path, e.PathTruncated = server.Path, server.PathTruncated
	}
	if e.Status == 0 { // the client has not read the answer, or does not know its status
		e.Status = server.Status
		if !client.Answered() {
			e.ResponseBytes = max(e.ResponseBytes, server.ResponseBytes)
		}
	}
	if e.Error != "" && e.ClosedBy == "" {
		e.ClosedBy = server.ClosedBy
	}
	if !e.GRPC && e.Error == "" && server.GRPC {
		e.GRPC, e.GRPCStatus, e.GRPCMessage = true, server.GRPCStatus, server.GRPCMessage
	}
	h.Object = &e
	h.Raw = event.AppendJSON(nil, &e)
	e.Recorded = string(h.Raw)
}
