package session

import (
	"fmt"

	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
)

// maxSpaces bounds the network namespaces that are watched, and maxAsked the processes
// whose namespace was looked up.
const maxSpaces, maxAsked = 256, 4096

// Queues tells once a second how many connections were dropped because the queues of
// listeners were full, as the kernel counts it for each network namespace.
type Queues struct {
	host   *Host
	proc   proc.Dir
	name   func(netns uint32) (l *Listener, wanted bool)
	timer  *Timer
	spaces map[uint32]*space
	looked uint64          // when Look was called before: boot clock
	asked  map[uint32]bool // processes whose namespace was looked up
}

// A Listener is whose queue was full. What is not known, or several have, is empty.
type Listener struct {
	PID  uint32
	Comm string
	Port uint16
}

// A space is a network namespace.
type space struct {
	pid  uint32 // of a process in it; 0: it is this process's own
	seen uint64 // dropped so far
}

// WatchQueues begins to watch this process's network namespace. Where something was dropped
// in one, name says by whom, nil if that is not known, and whether it is to be told. Of
// several tracers of a session the first one watches: for the others it returns nil.
func (h *Host) WatchQueues(name func(netns uint32) (l *Listener, wanted bool)) *Queues {
	if h.stages.queued {
		return nil // each connection is told once
	}
	h.stages.queued = true
	q := &Queues{host: h, proc: "/proc", name: name, spaces: map[uint32]*space{}, asked: map[uint32]bool{}, looked: kernel.Now()}
	q.timer = h.Timer(func() {
		q.timer.Next(houseInterval)
		q.Look()
	})
	q.watch(q.proc.NetNS(0), 0)
	if len(q.spaces) > 0 {
		q.timer.Next(houseInterval)
	}
	return q
}

// Watch begins to watch the network namespace of a process, if it is not watched yet. netns
// is its number, 0 if that is not known.
func (q *Queues) Watch(netns, pid uint32) {
	if netns == 0 {
		if q.asked[pid] {
			return
		}
		if len(q.asked) >= maxAsked {
			clear(q.asked)
		}
		q.asked[pid] = true
		netns = q.proc.NetNS(pid)
	}
	q.watch(netns, pid)
}

func (q *Queues) watch(netns, pid uint32) {
	if netns == 0 || q.spaces[netns] != nil || len(q.spaces) >= maxSpaces {
		return
	}
	if n, ok := q.proc.ListenOverflows(pid); ok {
		q.spaces[netns] = &space{pid, n}
	}
}

// Since is from when on what Look tells was dropped: a time of the boot clock. It is for
// name.
func (q *Queues) Since() uint64 { return q.looked }

// Look tells what was dropped since it was called last.
func (q *Queues) Look() {
	defer func() { q.looked = kernel.Now() }()
	for netns, s := range q.spaces {
		dropped, there := q.dropped(netns, s)
		if !there {
			delete(q.spaces, netns)
			clear(q.asked) // the process has gone; another one's listener leads here again
			continue
		}
		if dropped == 0 {
			continue
		}
		l, wanted := q.name(netns)
		more, _ := q.dropped(netns, s) // while it was looked for
		if wanted {
			q.host.overflow(l, dropped+more)
		}
	}
}

// dropped is how many connections were since it was asked last.
func (q *Queues) dropped(netns uint32, s *space) (n uint64, there bool) {
	now, ok := q.proc.ListenOverflows(s.pid)
	if !ok || s.pid != 0 && q.proc.NetNS(s.pid) != netns {
		return 0, false
	}
	if now > s.seen {
		n = now - s.seen
	}
	s.seen = now
	return n, true
}

// overflow tells, and counts, that connections were dropped. A SYN that is sent again counts
// again, as in the kernel's ListenOverflows.
func (h *Host) overflow(l *Listener, dropped uint64) {
	h.Ledger.Overflowed(dropped)
	n := &event.Notice{Kind: event.KindOverflow, Dropped: dropped, Message: plural(dropped, "attempt") + " to connect dropped as the queue of a listener was full"}
	if l != nil {
		n.PID, n.Comm, n.Port = l.PID, l.Comm, l.Port
		n.Message = fmt.Sprintf("%s to connect dropped at port %d%s: the queue of connections to accept was full", plural(dropped, "attempt"), l.Port, l.by())
	}
	h.Notice(n)
}

// by is whose listener it is, for people.
func (l *Listener) by() string {
	switch {
	case l.Comm == "":
		return ""
	case l.PID == 0:
		return " by " + l.Comm
	}
	return fmt.Sprintf(" by %s[%d]", l.Comm, l.PID)
}
