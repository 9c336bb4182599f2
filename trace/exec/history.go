package exec

import (
	"slices"
	"time"
	"unsafe"

	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
	"tracer/trace/session"
)

const (
	// maxHistory bounds what is remembered of living processes, in bytes of
	// text and in processes.
	maxHistory   = 64 << 20
	maxProcesses = 1 << 17
	// scanBudget is how long the first events may wait for what is known of
	// processes that are older than the session.
	scanBudget = 50 * time.Millisecond
	// olderInterval is how often the rest of it is taken over.
	olderInterval = 10 * time.Millisecond
)

// A history is what living processes run, for their end. It is told of each fork, start
// and end; of processes that are older than the session /proc tells.
type history struct {
	host  *session.Host
	dir   proc.Dir
	timer *session.Timer // scan may have found more

	lives map[uint32]life
	text  int // bytes in lives, programs shared by a fork counted each time

	older chan older          // what scan finds; nil: that is all
	gone  map[uint32]struct{} // who has ended while scan went on
}

// life is what a process runs. start tells it from another with its id, and is 0 if
// that is not known.
type life struct {
	start   uint64
	program event.Program
	cut     bool   // the program's arguments are not all
	id      uint32 // of the program, to tell whether the process became another unseen; 0: not known
	read    uint64 // when /proc told it, boot clock; 0: the kernel did
	comm    string // what the process was called then
}

// older is what /proc tells of a process that began before the session.
type older struct {
	pid uint32
	life
}

func newHistory(h *session.Host, dir proc.Dir) *history {
	x := &history{host: h, dir: dir, lives: map[uint32]life{}}
	x.timer = h.Timer(x.takeOlder)
	return x
}

// scan begins to read what these processes run, or all, and waits for that as long as
// the first events may.
func (h *history) scan(pids []uint32) {
	h.older, h.gone = make(chan older, 1024), map[uint32]struct{}{}
	go func(found chan<- older) {
		defer close(found)
		if len(pids) == 0 {
			pids, _ = h.dir.PIDs() // an unreadable /proc leaves keys out, no more
			slices.Reverse(pids)   // who is likely to end soon began last
		}
		for _, pid := range pids {
			if l, ok := h.read(pid); ok {
				found <- older{pid, l}
			}
		}
	}(h.older)
	deadline := time.NewTimer(scanBudget)
	defer deadline.Stop()
	for h.older != nil {
		select {
		case o, ok := <-h.older:
			h.remember(o, ok)
		case <-deadline.C:
			h.timer.In(olderInterval)
			return
		}
	}
}

// read asks /proc. It is safe for concurrent use.
func (h *history) read(pid uint32) (l life, ok bool) {
	stat, err := h.dir.Stat(pid)
	if err != nil {
		return life{}, false
	}
	l.comm = stat.Comm
	l.program.Exe, _ = h.dir.Exe(pid)
	if args, cut, err := h.dir.Args(pid); err == nil && len(args) > 0 {
		l.program.Args, l.cut = args, cut
	}
	l.read = kernel.Now() // afterwards: nothing of it is younger
	return l, l.program.Exe != "" || l.program.Args != nil
}

// remember takes over what scan found, unless an event told it meanwhile.
func (h *history) remember(o older, ok bool) {
	if !ok {
		h.older, h.gone = nil, nil
		return
	}
	_, known := h.lives[o.pid]
	if _, gone := h.gone[o.pid]; !known && !gone {
		h.keep(o.pid, o.life)
	}
}

// takeOlder takes over what scan has found meanwhile.
func (h *history) takeOlder() {
	for range len(h.older) {
		o, ok := <-h.older
		h.remember(o, ok)
	}
	if h.older != nil {
		h.timer.In(olderInterval)
	}
}

// forked says that parent, which was called comm, had a child at this time.
func (h *history) forked(pid, parent uint32, start, at uint64, comm string, id uint32) {
	l, ok := h.lives[parent]
	if !ok && h.older != nil {
		// scan has not come to it yet, and who knows whether it comes in time.
		if l, ok = h.read(parent); ok {
			h.keep(parent, l)
		} else {
			l, ok = h.read(pid)
		}
	}
	// What was read later may be another program, unless it has the name.
	if !ok || l.read > at && l.comm != comm || l.became(id) {
		h.forget(pid)
		return
	}
	l.start, l.id = start, id
	h.keep(pid, l)
}

// runs says that a process runs another program from this time on.
func (h *history) runs(pid uint32, at uint64, l life) {
	if old := h.lives[pid]; old.read > at {
		// That was this program, or a later one: its children were not forked from it.
		for child, c := range h.lives {
			if c.read == old.read {
				h.forget(child)
			}
		}
	}
	h.keep(pid, l)
}

// became reports whether a process that runs this program now is not what is known of it:
// the start was lost, or it failed when there was no way back.
func (l *life) became(id uint32) bool { return l.id != 0 && id != 0 && l.id != id }

// ended says that a process has ended, and returns what it ran.
func (h *history) ended(pid uint32, start uint64, id uint32) (l life) {
	if known, ok := h.lives[pid]; ok && (known.start == 0 || known.start == start) && !known.became(id) {
		l = known
	}
	h.forget(pid)
	if h.older != nil {
		h.gone[pid] = struct{}{}
	}
	return l
}

// keep remembers what a process runs, as long as there is room.
func (h *history) keep(pid uint32, l life) {
	h.forget(pid)
	size := l.size()
	if h.text+size > maxHistory || len(h.lives) >= maxProcesses {
		h.host.Ledger.Detail()
		return
	}
	h.text += size
	h.lives[pid] = l
}

func (h *history) forget(pid uint32) {
	if l, ok := h.lives[pid]; ok {
		h.text -= l.size()
		delete(h.lives, pid)
	}
}

func (l *life) size() int {
	n := len(l.program.Exe)
	for _, a := range l.program.Args {
		n += len(a) + int(unsafe.Sizeof(a))
	}
	return n
}
