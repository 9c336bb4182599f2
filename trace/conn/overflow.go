package conn

import (
	"io"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// listeners names who has dropped connections: the listeners whose own count of what they
// dropped has risen, if they are one.
type listeners struct {
	drops map[uint64]uint32 // by socket, as known last
	look  *kernel.Iterator  // at all of them; nil: they cannot be listed
}

// risen are the listeners of a network namespace that have dropped something, of all that
// there are now. What is not known from before is new, or at another's address.
func (l *listeners) risen(netns uint32, now []bpf.ConnListener) (list []bpf.ConnListener) {
	drops := make(map[uint64]uint32, len(now))
	for _, r := range now {
		before := l.drops[r.Socket]
		if before > r.Drops {
			before = 0
		}
		drops[r.Socket] = r.Drops
		switch {
		case r.Netns != netns:
			drops[r.Socket] = before // it is asked for by itself
		case r.Drops > before:
			list = append(list, r)
		}
	}
	l.drops = drops
	return list
}

// decodeListener notes one that was there when tracing began.
func (t *tracer) decodeListener(record []byte) bool {
	r := (*bpf.ConnListener)(unsafe.Pointer(unsafe.SliceData(record)))
	t.listening.drops[r.Socket] = r.Drops
	if t.queues != nil {
		t.queues.Watch(r.Netns, r.Pid)
	}
	return true
}

// nameListener says whose queue was full.
func (t *tracer) nameListener(netns uint32) (*session.Listener, bool) {
	var looking uint32
	if t.listening.look == nil || t.host.Get(bpf.ConnVarLooking, &looking) != nil || looking != 0 {
		return nil, !t.picks()
	}
	var r bpf.ConnListener
	var now []bpf.ConnListener
	err := t.listening.look.Read(func(from io.Reader) error {
		return kernel.Records(from, &r, func() { now = append(now, r) })
	})
	if err != nil {
		t.host.Notice(&event.Notice{Kind: event.KindWarning, Message: "listeners could not be listed: " + err.Error()})
		t.listening.look = nil
		return nil, !t.picks()
	}
	risen := t.listening.risen(netns, now)
	wanted := false
	for _, r := range risen {
		wanted = wanted || r.Wanted != 0 && t.host.JudgeOwner(&event.Process{PID: r.Pid, Comm: t.host.Comm(r.Comm), UID: r.Uid, CgroupID: r.Cgroup}) == session.Refusal{}
	}
	l := t.one(risen)
	return l, wanted && l != nil || !t.picks()
}

// one is the listener that all are, of one process or of several; nil if they are at
// several ports, or none.
func (t *tracer) one(list []bpf.ConnListener) *session.Listener {
	if len(list) == 0 {
		return nil
	}
	l := &session.Listener{PID: list[0].Pid, Comm: t.host.Comm(list[0].Comm), Port: list[0].Port}
	for _, r := range list[1:] {
		if r.Port != l.Port {
			return nil
		}
		if r.Pid != l.PID {
			l.PID = 0
		}
		if t.host.Comm(r.Comm) != l.Comm {
			l.Comm = ""
		}
	}
	return l
}

// picks reports whether only some connections are wanted.
func (t *tracer) picks() bool { return len(t.ports) > 0 || t.host.Options.Filters() }
