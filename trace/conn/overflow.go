package conn

import (
	"io"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

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
	if t.listening.look == nil {
		return nil, !t.picks()
	}
	if begun := t.listening.begun.Load(); begun == 0 || begun >= t.queues.Since() {
		// What was known at the beginning may have been dropped since then. Who has never
		// dropped anything has not now.
		clear(t.listening.drops)
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
